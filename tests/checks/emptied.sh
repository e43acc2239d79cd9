#!/usr/bin/env bash
# Supernodes that lost all their disks form a directory without homes: it must not grant keys that have one.
#
# check: an emptied directory refuses clusters with homes, which serve on without it; the root key stays, and is replaced on order
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin emptied
dev_up --supernodes 3 --clusters 2 --nodes 1
python_part emptied.py
