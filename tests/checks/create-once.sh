#!/usr/bin/env bash
# Of many clients that create one key, one does.
#
# check: 200 rounds of 64 clients with If-None-Match: *, through supernode and nodes: one 201 each, else 412 (ROUNDS=)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin create-once
dev_up --clusters 1
python_part create_once.py "${ROUNDS:-$([ "${CI:-}" ] && echo 25 || echo 200)}"
