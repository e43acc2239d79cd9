#!/usr/bin/env bash
# Removes the copied binary and cargo's output; what is expensive and shared (RocksDB, tools) stays.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
rm -rf "${ROOT:?}/bin"
cd "$ROOT"
cargo clean
