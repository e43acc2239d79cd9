#!/usr/bin/env bash
# A client may be sent to the node that does the work, with a proof that is good for nothing else; nodes know what they serve.
#
# check: curl -L up and down by redirect; capabilities used otherwise are refused; direct requests answer 421, 307 or 503
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin redirect
dev_up --set capability_lifetime=4s
python_part redirect.py
