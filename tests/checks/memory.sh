#!/usr/bin/env bash
# A node lives in 512 MiB, whatever is asked of it.
#
# check: 4 GB up and down, then 64 uploads of 64 MiB at once, every node in a group of 512 MiB: none ends, RSS below 400 MB
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin memory
root=/sys/fs/cgroup/memory
[ -w "$root/cgroup.procs" ] || skip "needs root and version 1 of the memory control groups"
size=${SIZE:-4000000000}
need_space_mb $((size * 3 / 1000000 + 64 * 67 * 3 + 1000))
group=$root/flotilla-check-$$
on_end "rmdir $group/* $group 2>/dev/null"
mkdir "$group"
dev_up --clusters 1
python_part memory.py "$group" "$size"
