#!/usr/bin/env bash
# A claim whose gateway died is nobody's file and stands in nobody's way.
#
# check: all gateways die between claim and commit: the key reads 404 and can be created at once
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin claim-crash
dev_up
python_part claim_crash.py
