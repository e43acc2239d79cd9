#!/usr/bin/env bash
# A node that dies or stops in the middle of an upload costs the client nothing but a pause.
#
# check: in mid-PUT a node is killed, one is stopped, the leader is killed: the same PUT succeeds, copies elsewhere (SIZE=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin mid-put
need_b3sum
# CI has room for a fifth of what is promised; by hand it is all of it.
if [ -n "${CI:-}" ]; then size=${SIZE:-200000000}; else size=${SIZE:-1000000000}; fi
need_space_mb $((size * 7 / 1000000 + 500))
head -c "$size" /dev/urandom >"$WORK/file"
dev_up --clusters 1
python_part mid_put.py "$WORK/file" "$(b3sum_of "$WORK/file")"
