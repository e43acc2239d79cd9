#!/usr/bin/env bash
# A real source tree goes in and comes back unchanged.
#
# check: a tree of real files, put -r then get -r, is the same byte for byte (FULL=1: all crates)
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin real-tree

crates_max=${CRATES:-200}
source=${CARGO_HOME:-$HOME/.cargo}/registry/src
mapfile -t crates < <(find "$source" -mindepth 2 -maxdepth 2 -type d | sort)
[ ${#crates[@]} -gt 0 ] || skip "no crate sources under CARGO_HOME"

mkdir "$WORK/tree"
taken=0
for crate in "${crates[@]}"; do
  case $(basename "$crate") in
    librocksdb-sys-*) ;;
    *)
      [ "${FULL:-}" = 1 ] || [ "$taken" -lt "$crates_max" ] || continue
      taken=$((taken + 1))
      ;;
  esac
  cp -r "$crate" "$WORK/tree/"
done
# Files have names, folders and links have none of their own here.
find "$WORK/tree" -type l -delete
find "$WORK/tree" -type d -empty -delete
files=$(find "$WORK/tree" -type f | wc -l)
mb=$(du -sm --apparent-size "$WORK/tree" | cut -f 1)
[ "$files" -gt 100 ] || skip "only $files files to be had"
need_space_mb $((mb * 5 + 2000))

dev_up
note "$files files, $mb MB"
started=$SECONDS
timeout 900 "$FLOTILLA" put -r "$WORK/tree" demo/tree >"$WORK/put.log" 2>&1 || fail "put -r ended with status $?"
put_s=$((SECONDS - started))
started=$SECONDS
timeout 600 "$FLOTILLA" get -r demo/tree "$WORK/back" >"$WORK/get.log" 2>&1 || fail "get -r ended with status $?"
get_s=$((SECONDS - started))
diff -r "$WORK/tree" "$WORK/back" >"$WORK/diff.log" || fail "trees differ in $(wc -l <"$WORK/diff.log") places"
pass "files=$files mb=$mb put_s=$put_s get_s=$get_s"
