#!/usr/bin/env python3
"""Checks the declared minimum Rust version against the dependencies and the toolchain, without a second toolchain.

Building with the minimum version itself is what .github/workflows/ci.yml does; this finds, on any machine, a dependency
that asks for more than the workspace declares, and a declaration that the installed toolchain cannot meet.
"""

import json
import re
import subprocess
import sys


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"\d+(\.\d+)*", text).group().split("."))[:2]


def main() -> int:
    metadata = json.loads(subprocess.check_output(["cargo", "metadata", "--format-version", "1", "--locked"]))
    installed = subprocess.check_output(["rustc", "--version"], text=True).split()[1]
    members = set(metadata["workspace_members"])
    packages = {package["id"]: package for package in metadata["packages"]}
    declared = {packages[member]["rust_version"] for member in members}
    if len(declared) != 1 or None in declared:
        print(f"error: the crates declare different minimum versions: {declared}", file=sys.stderr)
        print("hint: rust-version.workspace = true in each Cargo.toml", file=sys.stderr)
        return 1
    minimum = declared.pop()
    if version(minimum) > version(installed):
        print(f"error: rust-version is {minimum}, installed is {installed}", file=sys.stderr)
        return 1
    # Only what is built somewhere: the resolved graph, not everything the lock file names.
    used = [packages[node["id"]] for node in metadata["resolve"]["nodes"] if node["id"] not in members]
    newer = [p for p in used if p["rust_version"] and version(p["rust_version"]) > version(minimum)]
    for package in newer:
        asks = f"{package['name']} {package['version']} asks for Rust {package['rust_version']}"
        print(f"error: {asks}, the workspace declares {minimum}", file=sys.stderr)
    if newer:
        print("hint: raise rust-version in Cargo.toml, or take an older release of the crate", file=sys.stderr)
        return 1
    print(f"Rust {minimum} is enough for all {len(used)} dependencies; installed is {installed}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
