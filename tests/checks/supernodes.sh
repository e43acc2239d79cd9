#!/usr/bin/env bash
# Supernodes come and go under load: one becomes three, the first one leaves, a lost one is replaced.
#
# check: two supernodes join and vote; wiped and older disks are refused; the leader is removed; clients, the SDK and nodes go on with the others
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin supernodes
dev_up --clusters 2 --set voter_grace=3s
python_part supernodes.py
