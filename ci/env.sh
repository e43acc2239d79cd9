# shellcheck shell=bash
# Where builds and tools lie; sourced by the other scripts. Everything that is kept lies outside the checkout.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
export FLOTILLA_CACHE=${FLOTILLA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/flotilla}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$FLOTILLA_CACHE/target}
export TOOLS=$FLOTILLA_CACHE/tools
# Only crates that read it with option_env! are built again when it changes.
FLOTILLA_REV=${FLOTILLA_REV:-$(git -C "$ROOT" rev-parse --short HEAD 2>/dev/null || echo unknown)}
export FLOTILLA_REV
