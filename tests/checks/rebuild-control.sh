#!/usr/bin/env bash
# The rebuild's fence is a test: clusters that don't raise their floor make a second home.
#
# check: rebuild with a fence that does nothing must fail
# ci: no
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
status=0
line=$(FAILPOINTS='rebuild.no_fence=return' KEYS=30 "$here/rebuild.sh" 2>/dev/null | tail -n 1) || status=$?
case $line in
  "FAIL rebuild a second home"*) echo "PASS rebuild-control found: ${line#FAIL rebuild }" ;;
  *) echo "FAIL rebuild-control status=$status: ${line:-no verdict}" && exit 1 ;;
esac
