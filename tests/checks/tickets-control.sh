#!/usr/bin/env bash
# The check of tickets is a test: it finds a leader that forgets them, and one that grants them in another order.
#
# check: tickets with each of the faults tickets.forget and tickets.any_order must fail, with the complaint that is meant
# ci: no
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
found=0
for pair in "tickets.forget:still wait" "tickets.any_order:in another order"; do
  fault=${pair%%:*} complaint=${pair#*:} status=0
  line=$(FAULT=$fault "$here/tickets.sh" 2>/dev/null | tail -n 1) || status=$?
  case $line in
    "FAIL tickets "*"$complaint"*) found=$((found + 1)) ;;
    *) echo "FAIL tickets-control $fault, status=$status: ${line:-no verdict}" && exit 1 ;;
  esac
done
echo "PASS tickets-control faults=2 found=$found"
