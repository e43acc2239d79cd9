#!/usr/bin/env bash
# What examples/compose.yaml describes forms a fleet, serves, goes down in time and comes up again.
#
# check: each service of compose.yaml as a process with its own address, volumes, user and limits: settings, health, the commands of its head, down, up (root)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin compose
[ "$(id -u)" = 0 ] || skip "needs root for containers' users and addresses"
# Networks and their names are those of the chaos rows.
export PYTHONPATH=$PYTHONPATH:$REPO/tests/chaos/lib PREFIX=compose$$
on_end "python3 '$REPO/tests/chaos/lib/undo.py' '$WORK'"
python=$("$REPO/ci/tool.sh" compose-python) || fail "what reads compose files can't be installed"
"$python" "$REPO/ci/compose.py" "$REPO/examples/compose.yaml" >"$WORK/compose.json" 2>"$WORK/compose.log" ||
  fail "$(tail -n 1 "$WORK/compose.log")"
python_part compose.py
