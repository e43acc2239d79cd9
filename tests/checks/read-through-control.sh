#!/usr/bin/env bash
# Reading through another supernode is a test: it finds one that answers misses, or lists, without a read index.
#
# check: read-through with each of the faults directory.miss_unread and directory.list_unread must fail, with the complaint that is meant
# ci: no
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
found=0
for pair in "directory.miss_unread: answered 404 " "directory.list_unread: the list answered 200 [] after "; do
  fault=${pair%%:*} complaint=${pair#*:} status=0
  line=$(FAULT=$fault COUNT=900 "$here/read-through.sh" 2>/dev/null | tail -n 1) || status=$?
  case $line in
    "FAIL read-through ryw/"*"$complaint"*) found=$((found + 1)) ;;
    *) echo "FAIL read-through-control $fault, status=$status: ${line:-no verdict}" && exit 1 ;;
  esac
done
echo "PASS read-through-control faults=2 found=$found"
