#!/usr/bin/env bash
# Clients that are slow on purpose cost nobody else anything, and lose their connections.
#
# check: 800 slow heads, bodies and readers at a supernode and a node, then a node without file descriptors: probes stay under 1 s
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin slow-clients
ulimit -n 4096 || skip "needs 4096 open files"
dev_up --clusters 1 --set header_timeout=5s --set stall_timeout=6s
python_part slow_clients.py
