#!/usr/bin/env bash
# What was acked is seen by every read that begins afterwards.
#
# check: 10,000 small PUTs, each followed by GET, HEAD and a list that must show it (COUNT=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin read-your-writes
dev_up
python_part read_your_writes.py "${COUNT:-10000}"
