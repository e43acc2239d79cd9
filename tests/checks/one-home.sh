#!/usr/bin/env bash
# A key has one home, however many clients create it at once and wherever they knock.
#
# check: 1,000 rounds of two clients creating one key at once: one winner, one home (ROUNDS=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin one-home
dev_up --supernodes 3
python_part one_home.py "${ROUNDS:-1000}"
