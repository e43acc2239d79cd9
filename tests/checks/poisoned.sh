#!/usr/bin/env bash
# Nodes that can't store, and nodes that are gone, are told apart.
#
# check: two of three chunk stores poisoned: reads and small writes go on, others 503; two nodes dead: 503 no_leader
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin poisoned
dev_up --clusters 1
python_part poisoned.py
