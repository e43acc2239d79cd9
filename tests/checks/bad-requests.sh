#!/usr/bin/env bash
# A bad request is refused with a reason, and leaves nothing behind.
#
# check: 50 bad requests, at the supernode and at a node: each a 4xx with a problem document, nothing stored
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin bad-requests
dev_up
python_part bad_requests.py
