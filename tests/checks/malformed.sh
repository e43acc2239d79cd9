#!/usr/bin/env bash
# A request that two readers could take differently is refused by the first one, at the supernode and at a node.
#
# check: 60 malformed requests at four listeners: one 4xx or the end of the connection each, none taken, nothing stored
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin malformed
dev_up --clusters 1 --set header_timeout=2s --set idle_timeout=2s --set stall_timeout=2s
python_part malformed.py
