#!/usr/bin/env bash
# Copies the built binary to bin/flotilla: `ci/install.sh debug|release`.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
mkdir -p "$ROOT/bin"
# A rename, because the old file may be running.
cp "$CARGO_TARGET_DIR/$1/flotilla" "$ROOT/bin/.flotilla.new"
mv "$ROOT/bin/.flotilla.new" "$ROOT/bin/flotilla"
