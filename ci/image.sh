#!/usr/bin/env bash
# Builds the image with podman: `ci/image.sh prebuilt|full [TAG]`. Prints its id and size.
#
# prebuilt takes bin/flotilla, full compiles everything anew. Base images come from their registry; where there is none, they are
# made here: Debian with debootstrap, Rust from the toolchain of this machine.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

kind=${1:-prebuilt}
tag=${2:-flotilla:0.1.0}
debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/rust:1.95-slim-bookworm
export CONTAINERS_CONF=${CONTAINERS_CONF:-$ROOT/ci/containers.conf}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without a kernel's help for nested containers; nothing is pulled that was not asked for below.
build() { podman build --quiet --isolation chroot --pull=never --network host "$@" >&2; }

# Whether the image $1 is there, or comes from its registry.
have() {
  podman image exists "$1" || timeout 60 podman pull --quiet "$1" >/dev/null 2>&1
}

have_debian() {
  have "$debian" && return
  echo "image: no registry; making $debian with debootstrap" >&2
  debootstrap --variant=minbase bookworm "$work/root" >&2
  tar -C "$work/root" -c . | podman import --quiet - "$debian" >&2
}

have_rust() {
  have "$rust" && return
  echo "image: no registry; making $rust from this machine's toolchain" >&2
  printf 'FROM %s\nCOPY bin /usr/local/bin\nCOPY lib /usr/local/lib\nRUN %s\n' "$debian" \
    'apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev' >"$work/Rust"
  build --file "$work/Rust" --tag "$rust" "$(rustc --print sysroot)"
}

case $kind in
  prebuilt)
    [ -x bin/flotilla ] || { echo "image: there is no bin/flotilla; run make build or make release" >&2; exit 1; }
    have_debian
    mkdir "$work/bin"
    strip -o "$work/bin/flotilla" bin/flotilla
    build --target prebuilt --file Dockerfile --tag "$tag" "$work/bin"
    ;;
  full)
    have_debian
    have_rust
    # Crates that are here already need not come over the network.
    registry=${CARGO_HOME:-$HOME/.cargo}/registry
    mkdir -p "$registry"
    build --target full --build-arg FLOTILLA_REV="$FLOTILLA_REV" --volume "$registry:/usr/local/cargo/registry" \
      --file Dockerfile --tag "$tag" .
    ;;
  *)
    echo "usage: ci/image.sh prebuilt|full [TAG]" >&2
    exit 2
    ;;
esac
podman image inspect --format '{{.Id}} {{.Size}}' "$tag"
