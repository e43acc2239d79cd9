#!/usr/bin/env bash
# Many times the load that a fleet can carry: who is served, who is refused, how fair that is, and whether people are told the truth.
#
# It must fail with each of these, which make a supernode forget requests that waited, and let stolen ones through twice:
#   FAILPOINTS=admission.forget=return make check NAME=admission
#   FAILPOINTS=steal.twice=return make check NAME=admission
#
# check: a flood is refused with 429 and 503 and Retry-After; a quiet principal is served meanwhile; explain agrees with what happened
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin admission
command -v taskset >/dev/null || skip "taskset is missing"
read -ra cpus < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)))')
[ "${#cpus[@]}" -ge 2 ] || skip "needs a processor for the servers and one for their clients"
ulimit -n 4096 || skip "needs 4096 open files"
# All servers share one processor, so that its time is what there is too little of; the clients take the others.
taskset -pc "${cpus[0]}" $$ >/dev/null
export CLIENT_CPUS="${cpus[*]:1}"
dev_up --clusters 2 --set queue_wait=300ms
python_part admission.py
