#!/usr/bin/env bash
# An upload that takes minutes outlives its leaders.
#
# check: a slow PUT of 1.9 GB at 25 MB/s while the leader changes every 10 s: readable with the right ETag (SIZE= RATE= SET=)
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin long-put
need_b3sum
size=${SIZE:-1900000000}
need_space_mb $((size * 3 / 1000000 + 500))
head -c "$size" /dev/urandom >"$WORK/file"
settings=()
for setting in ${SET:-}; do settings+=(--set "$setting"); done
dev_up --clusters 1 "${settings[@]}"
python_part long_put.py "$WORK/file" "$(b3sum_of "$WORK/file")" "${RATE:-25000000}"
