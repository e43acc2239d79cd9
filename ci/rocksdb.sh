#!/usr/bin/env bash
# Compiles RocksDB once and keeps the archive outside the checkout.
#
# Prints shell lines for `eval`: ROCKSDB_LIB_DIR and ROCKSDB_STATIC. The C++ build takes about 16 CPU-minutes, and
# cargo repeats it whenever feature unification changes for a crate that librocksdb-sys depends on; a prebuilt
# archive makes it a link step. The folder is named after everything that shapes the archive.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
crate_version=$(awk '/^name = "rocksdb"$/ { getline; gsub(/[^0-9.]/, ""); print; exit }' "$root/Cargo.lock")
[ -n "$crate_version" ] || { echo "rocksdb: Cargo.lock names no rocksdb" >&2; exit 1; }
command -v g++ >/dev/null || { echo "rocksdb: g++ is missing; run ci/setup.sh" >&2; exit 1; }
features='"bindgen-runtime","lz4","zstd"'
key=$(printf '%s\n' "$crate_version" "$features" "$(g++ -dumpfullversion)" "$(uname -m)" v1 | sha256sum | cut -c1-16)
cache=${FLOTILLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flotilla}
out=$cache/rocksdb-$crate_version-$key

if [ ! -f "$out/librocksdb.a" ]; then
  mkdir -p "$cache"
  exec 9>"$cache/rocksdb.lock"
  flock 9
  if [ ! -f "$out/librocksdb.a" ]; then
    work=$(mktemp -d "$cache/build.XXXXXX")
    trap 'rm -rf "$work" "$out.part"' EXIT
    mkdir -p "$work/src"
    cat >"$work/Cargo.toml" <<TOML
[package]
name = "rocksdb-archive"
version = "0.0.0"
edition = "2021"
[dependencies]
rocksdb = { version = "=$crate_version", default-features = false, features = [$features] }
[workspace]
TOML
    # Our lock file picks librocksdb-sys, so that archive and bindings are of one version.
    cp "$root/Cargo.lock" "$work/Cargo.lock"
    echo 'pub use rocksdb::DB;' >"$work/src/lib.rs"
    if command -v ccache >/dev/null; then
      export CXX="ccache g++" CC="ccache gcc"
    fi
    echo "rocksdb: compiling once into $out (about 10 minutes on two idle cores)" >&2
    env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC CARGO_TARGET_DIR="$work/target" \
      cargo build --release --manifest-path "$work/Cargo.toml" >&2
    rm -rf "$out.part"
    mkdir -p "$out.part"
    find "$work/target/release/build" -path '*librocksdb-sys*' -name librocksdb.a -exec cp {} "$out.part/" \;
    [ -f "$out.part/librocksdb.a" ] || { echo "rocksdb: the build left no librocksdb.a" >&2; exit 1; }
    rm -rf "$out"
    mv "$out.part" "$out"
  fi
fi
printf 'export ROCKSDB_LIB_DIR=%q ROCKSDB_STATIC=1\n' "$out"
