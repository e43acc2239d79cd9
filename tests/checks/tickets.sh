#!/usr/bin/env bash
# Tickets: places in the queue that survive every supernode, have their turns in order, and end once.
#
# FAULT plants a fault that must be found: see tickets-control.sh.
#
# check: 60 tickets of 3 principals, each supernode killed meanwhile: each used once, in order; a re-send is made once, an unused one is 410
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin tickets
# With slow commits there are more requests than places.
FAILPOINTS="gateway.before_commit=sleep(2500)${FAULT:+;$FAULT=return}" dev_up --supernodes 3 --clusters 1
python_part tickets.py
