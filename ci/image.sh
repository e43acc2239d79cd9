#!/usr/bin/env bash
# Builds the image with podman: `ci/image.sh prebuilt|full [TAG]`. Prints its id and size, and fails if it is too large.
#
# prebuilt takes bin/flotilla, full compiles everything anew. Base images come from their registry; where there is none, they are
# made here, under names of their own: Debian with debootstrap, Rust from the toolchain of this machine.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

kind=${1:-prebuilt}
tag=${2:-flotilla:0.1.0}
debian=docker.io/library/debian:bookworm-slim
rust=docker.io/library/rust:1.95-slim-bookworm
# What is made here. No registry has these names, so nobody takes them for what they stand in for.
made=localhost/flotilla-base
# The program is most of it, and four libraries have 5 MB.
image_mb_max=60
export CONTAINERS_CONF=${CONTAINERS_CONF:-$ROOT/ci/containers.conf}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Without a kernel's help for nested containers; nothing is pulled that was not asked for below.
build() { podman build --quiet --isolation chroot --pull=never --network host "$@" >&2; }

pulled() { timeout 60 podman pull --quiet "$1" >/dev/null 2>&1; }

# Sets `debian` to an image that is here.
have_debian() {
  podman image exists "$debian" && return
  local own=$made:bookworm
  if ! podman image exists "$own"; then
    pulled "$debian" && return
    echo "image: no registry; making $own with debootstrap" >&2
    debootstrap --variant=minbase bookworm "$work/root" >&2
    tar -C "$work/root" -c . | podman import --quiet - "$own" >&2
  fi
  debian=$own
}

# Sets `rust` to one. The name of one that is made here has the toolchain's version, since another toolchain makes another image.
have_rust() {
  podman image exists "$rust" && return
  local own
  own=$made:rust-$(rustc --version | cut -d ' ' -f 2)
  if ! podman image exists "$own"; then
    pulled "$rust" && return
    echo "image: no registry; making $own from this machine's toolchain" >&2
    printf 'FROM %s\nCOPY bin /usr/local/bin\nCOPY lib /usr/local/lib\nRUN %s\n' "$debian" \
      'apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev' >"$work/Rust"
    build --file "$work/Rust" --tag "$own" "$(rustc --print sysroot)"
  fi
  rust=$own
}

case $kind in
  prebuilt)
    [ -x bin/flotilla ] || { echo "image: there is no bin/flotilla; run make build or make release" >&2; exit 1; }
    have_debian
    mkdir "$work/bin"
    strip -o "$work/bin/flotilla" bin/flotilla
    build --target prebuilt --build-arg DEBIAN="$debian" --file Dockerfile --tag "$tag" "$work/bin"
    ;;
  full)
    have_debian
    have_rust
    # Crates that are here already need not come over the network.
    registry=${CARGO_HOME:-$HOME/.cargo}/registry
    mkdir -p "$registry"
    build --target full --build-arg DEBIAN="$debian" --build-arg RUST="$rust" --build-arg FLOTILLA_REV="$FLOTILLA_REV" \
      --volume "$registry:/usr/local/cargo/registry" --file Dockerfile --tag "$tag" .
    ;;
  *)
    echo "usage: ci/image.sh prebuilt|full [TAG]" >&2
    exit 2
    ;;
esac
image=$(podman image inspect --format '{{.Id}} {{.Size}}' "$tag")
echo "$image"
image_mb=$((${image##* } / 1000000))
[ "$image_mb" -le "$image_mb_max" ] || {
  echo "image: $tag has $image_mb MB, at most $image_mb_max are wanted" >&2
  exit 1
}
