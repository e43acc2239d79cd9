#!/usr/bin/env bash
# Runs one load profile against a fresh deployment of bin/flotilla: `ci/bench.sh PROFILE [ARGUMENTS…]`.
set -euo pipefail
# shellcheck source=../tests/checks/lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/../tests/checks/lib/common.sh"
profile=$1
shift
check_begin "bench-$profile"
dev_up --clusters 1
"$FLOTILLA" loadtest run "$profile" "$@"
pass "profile $profile"
