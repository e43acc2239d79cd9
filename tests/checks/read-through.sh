#!/usr/bin/env bash
# What one supernode acked is seen through every other one, also through one whose own state is late.
#
# FAULT plants a fault in the late one that must be found: see read-through-control.sh.
#
# check: 10,000 small PUTs (2,000 in CI, COUNT=), each read at once through another of three supernodes in three ways, one 200 ms late
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin read-through
dev_up --supernodes 3
python_part read_your_writes.py "${COUNT:-$([ "${CI:-}" ] && echo 2000 || echo 10000)}"
