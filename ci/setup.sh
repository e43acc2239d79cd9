#!/usr/bin/env bash
# Installs what is missing on a Debian machine that has a Rust toolchain: `ci/setup.sh GROUP…`.
#
# Groups: build (to compile), test (the test runner), checks (for tests/checks), containers (for images and pods), lint. What is there is left alone, so a
# second call does nothing and needs neither root nor a network.
set -euo pipefail

missing=()

# Notes package $2 as missing when the command $1 is not there.
command_from() {
  command -v "$1" >/dev/null 2>&1 || PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

# bindgen loads libclang and reads the compiler's own headers, both of which libclang-dev brings.
libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return
  dpkg-query -W -f '${Status}\n' libclang-dev 2>/dev/null | grep -q '^install ok installed' || missing+=(libclang-dev)
}

for group in "${@:-build}"; do
  case $group in
    build)
      command_from g++ g++
      command_from make make
      command_from git git
      command_from ccache ccache
      libclang
      ;;
    test) ;;
    checks)
      command_from curl curl
      command_from jq jq
      command_from python3 python3
      command_from strace strace
      command_from mkfs.ext4 e2fsprogs
      command_from xfs_io xfsprogs
      command_from losetup mount
      command_from mount mount
      command_from ip iproute2
      command_from nft nftables
      command_from nsenter util-linux
      command_from useradd passwd
      ;;
    containers)
      command_from podman podman
      command_from buildah buildah
      command_from runc runc
      command_from catatonit catatonit
      command_from debootstrap debootstrap
      command_from strip binutils
      [ -d /usr/lib/cni ] || [ -x /usr/lib/podman/netavark ] || missing+=(containernetworking-plugins)
      ;;
    lint)
      command_from shellcheck shellcheck
      command_from systemd-analyze systemd
      python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
      ;;
    *)
      echo "setup: '$group' is none of build, test, checks, containers, lint" >&2
      exit 2
      ;;
  esac
done

if [ ${#missing[@]} -gt 0 ]; then
  mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
  if ! command -v apt-get >/dev/null; then
    echo "setup: this machine has no apt-get; install what these Debian packages bring: ${missing[*]}" >&2
    exit 1
  fi
  if [ "$(id -u)" != 0 ]; then
    echo "setup: missing packages: ${missing[*]}" >&2
    echo "setup: run this as root once: apt-get update && apt-get install -y ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update >&2
  apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2
fi

if ! command -v cargo >/dev/null; then
  echo "setup: cargo is missing; install the Rust toolchain that Cargo.toml names as rust-version" >&2
  exit 1
fi
case " $* " in
  *" test "*)
    if ! command -v cargo-nextest >/dev/null && ! [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo-nextest" ]; then
      echo "setup: installing cargo-nextest" >&2
      cargo install cargo-nextest --locked >&2
    fi
    ;;
esac
case " $* " in
  *" lint "*)
    for component in fmt clippy; do
      if ! cargo "$component" --version >/dev/null 2>&1; then
        echo "setup: cargo $component is missing; add it with: rustup component add rustfmt clippy" >&2
        exit 1
      fi
    done
    ;;
esac
