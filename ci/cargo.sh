#!/usr/bin/env bash
# Runs cargo with the shared target folder and the prebuilt RocksDB: `ci/cargo.sh build …`.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"
settings=$(ci/rocksdb.sh)
eval "$settings"
exec cargo "$@"
