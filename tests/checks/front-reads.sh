#!/usr/bin/env bash
# What one supernode acked is seen through every other one, also through one whose own state is late.
#
# check: 1,280 small PUTs (COUNT=), each followed by GET, HEAD and a list through another supernode, one of which is 200 ms late
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin front-reads
dev_up --supernodes 3
python_part read_your_writes.py "${COUNT:-1280}"
