#!/usr/bin/env bash
# Makes the base image that docker/Dockerfile starts from, out of Debian packages, for a machine that reaches no image
# registry. With a registry nobody needs this: `docker build` pulls the official image of the same name.
#
#   docker/base-image.sh [--force]
#
# Does nothing when the image is already there. FEDAI_BASE_CACHE names the folder that keeps the finished tarball
# (default: ~/.cache/fedai/base-image); FEDAI_DEBIAN_MIRROR names another mirror.
set -euo pipefail

image=$(sed -n 's/^ARG BASE_IMAGE=//p' "$(dirname "$0")/Dockerfile")
suite=bookworm
mirror=${FEDAI_DEBIAN_MIRROR:-http://deb.debian.org/debian}
cache=${FEDAI_BASE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fedai/base-image}
# What the runtime image needs beyond minbase. Installing it here keeps the Dockerfile free of downloads.
packages=ca-certificates,libgomp1,python3,python3-venv

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

[ -n "$image" ] || fail "docker/Dockerfile names no BASE_IMAGE" "restore its first ARG line"
docker info >/dev/null 2>&1 || fail "no Docker Engine answers" "start it, or add this user to the group docker"

if [ "${1:-}" != --force ] && docker image inspect "$image" >/dev/null 2>&1; then
  echo "base image: $image is already there"
  exit 0
fi

case $(uname -m) in
  x86_64) arch=amd64 ;;
  aarch64) arch=arm64 ;;
  *) fail "no recipe for $(uname -m)" "pull $image from a registry instead" ;;
esac
# Another list of packages is another tarball.
tarball=$cache/$suite-$arch-$(printf %s "$packages" | sha256sum | cut -c1-8).tar

if [ "${1:-}" = --force ] || [ ! -s "$tarball" ]; then
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root" "run this script with sudo, or: docker pull $image"
  if ! command -v debootstrap >/dev/null 2>&1; then
    command -v apt-get >/dev/null 2>&1 || fail "debootstrap is missing" "install debootstrap, or: docker pull $image"
    echo "base image: installing debootstrap"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends debootstrap >/dev/null
  fi
  mkdir -p "$cache"
  root=$(mktemp -d "${TMPDIR:-/tmp}/fedai-base.XXXXXX")
  trap 'rm -rf -- "$root" "$tarball.part"' EXIT
  echo "base image: debootstrap $suite from $mirror (about 40 MB to fetch)"
  debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" >"$cache/debootstrap.log" 2>&1 \
    || fail "debootstrap failed, see $cache/debootstrap.log" "check that $mirror is reachable"
  # The official slim image drops the same things.
  rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/log/* \
    "$root"/usr/share/{doc,man,info,locale}/*
  tar --numeric-owner --one-file-system -C "$root" -cf "$tarball.part" .
  mv "$tarball.part" "$tarball"
fi

docker import --change 'CMD ["bash"]' "$tarball" "$image" >/dev/null
echo "base image: $image made from Debian packages"
