#!/usr/bin/env bash
# Damaged copies are never served: not a flipped bit, not a cut, zeroed or exchanged file.
#
# check: 200 copies damaged on disk, one per chunk, 0 wrong bytes in 10,000 reads; both copies damaged: 500 or an aborted body
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin bit-rot
dev_up --clusters 1 --set chunk_size=2MiB --set cache_bytes=1MiB
python3 "$CHECKS/bit_rot.py" plant </dev/null >"$WORK/planted.json" || fail "$(tail -n 1 "$WORK/planted.json")"
# Nothing that was open or remembered may help: only the disks are left. The damage is done while nobody runs.
dev_down
python3 "$CHECKS/bit_rot.py" damage "$WORK/planted.json" </dev/null >"$WORK/damage.log" || fail "$(tail -n 1 "$WORK/damage.log")"
dev_up
python_part bit_rot.py read "$WORK/planted.json"
