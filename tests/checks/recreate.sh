#!/usr/bin/env bash
# A home ends in its cluster's log: afterwards another cluster may have the key, and what comes late for the old home is refused.
#
# check: delete, home released, created anew in the other cluster, the old upload's commit is refused; unused claims are released
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin recreate
dev_up --set claim_idle=500ms --set purge_interval=500ms --set version_linger=500ms
python_part recreate.py "${ROUNDS:-4}"
