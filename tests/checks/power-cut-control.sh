#!/usr/bin/env bash
# The power cut is a test: with syncs that do nothing it finds losses.
#
# check: power-cut under syncs that are no-ops must fail
# ci: no
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
status=0
line=$(CONTROL=1 ROUNDS=1 FS=${FS:-xfs} "$here/power-cut.sh" 2>/dev/null | tail -n 1) || status=$?
case $line in
  "FAIL power-cut "*) echo "PASS power-cut-control found: ${line#FAIL power-cut }" ;;
  "SKIP power-cut "*) echo "SKIP power-cut-control ${line#SKIP power-cut }" && exit 77 ;;
  *) echo "FAIL power-cut-control status=$status: ${line:-no verdict}" && exit 1 ;;
esac
