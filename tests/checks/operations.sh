#!/usr/bin/env bash
# The commands of docs/OPERATIONS.md do what it says, in its order.
#
# check: each shell block of OPERATIONS.md is run: install, add a node, replace a disk, drain and a rolling restart on machines of its own, the rest on a dev fleet (root)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin operations
[ "$(id -u)" = 0 ] || skip "needs root for machines with users and addresses of their own"
# Networks and their names are those of the chaos rows.
export PYTHONPATH=$PYTHONPATH:$REPO/tests/chaos/lib PREFIX=ops$$
# The machines of the manual are processes that dev.json does not know.
on_end "python3 '$REPO/tests/chaos/lib/undo.py' '$WORK'"
FLOTILLA_DEV_DIR=$DIR
export FLOTILLA_DEV_DIR
python_part operations.py
