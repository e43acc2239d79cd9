#!/usr/bin/env bash
# The ETag is the BLAKE3 of the content, whatever the content's shape on disk.
#
# check: ETags of files around every boundary are what b3sum prints, and the bytes come back
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin etags
need_b3sum

chunk=65536
sizes=(0 1 1023 1024 1025 4095 4096 4097 1048575 1048576 1048577)
for count in 1 2 3 5 257; do
  sizes+=($((count * chunk - 1)) $((count * chunk)) $((count * chunk + 1)))
done

dev_up --set chunk_size=64KiB
head -c $((258 * chunk)) /dev/urandom >"$WORK/random"
for size in "${sizes[@]}"; do
  head -c "$size" "$WORK/random" >"$WORK/file"
  want=$(b3sum_of "$WORK/file")
  key=/v1/files/demo/size-$size
  put=$(api -T "$WORK/file" "$key" | jq -r .etag)
  [ "$put" = "$want" ] || fail "size $size: PUT says $put, b3sum says $want"
  got=$(api -D "$WORK/head" -o "$WORK/back" "$key" && awk 'tolower($1) == "etag:" { gsub(/["\r]/, "", $2); print $2 }' "$WORK/head")
  [ "$got" = "$want" ] || fail "size $size: GET says '$got', b3sum says $want"
  cmp -s "$WORK/file" "$WORK/back" || fail "size $size: content differs"
  head=$(api -I "$key" | tr -d '\r"' | awk 'tolower($1) == "etag:" { e = $2 } tolower($1) == "content-length:" { l = $2 } END { print e, l }')
  [ "$head" = "$want $size" ] || fail "size $size: HEAD says '$head'"
done
pass "sizes=${#sizes[@]} chunk_size=$chunk"
