#!/usr/bin/env bash
# A cluster retires: it gets no new file from then on, its files stay until they are moved away, and then it is forgotten.
#
# check: retire under load without an error, nothing new there, undo, copies leave it, safe to forget is counted, forgotten for ever
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin retire
dev_up --clusters 2 --nodes 1 --set claim_idle=1s --set purge_interval=500ms --set version_linger=500ms
python_part retire.py
