#!/usr/bin/env bash
# A file larger than any buffer goes through without being held in memory.
#
# check: one file of 3 GB, up and down by curl, equal, every node below 400 MB of memory
# ci: no
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin three-gb
need_b3sum

bytes=${BYTES:-3000000000}
limit_mb=400
need_space_mb $((bytes * 3 / 1000000 + 2000))

head -c "$bytes" /dev/urandom >"$WORK/file"
dev_up
export API_TIMEOUT_S=600
started=$SECONDS
status=$(api -o "$WORK/answer.log" -w '%{http_code}' -T "$WORK/file" /v1/files/demo/three-gb) || fail "upload was cut"
[ "$status" = 201 ] || fail "upload answered $status"
up_s=$((SECONDS - started))
etag=$(jq -r .etag "$WORK/answer.log")
[ "$etag" = "$(b3sum_of "$WORK/file")" ] || fail "ETag $etag is not what b3sum prints"

started=$SECONDS
api /v1/files/demo/three-gb | cmp - "$WORK/file" || fail "download differs"
down_s=$((SECONDS - started))

peak_mb=$(python3 -c '
from dev import Dev
print(max(p.rss_peak_bytes() for p in Dev().nodes) // 1_000_000)
')
[ "$peak_mb" -lt "$limit_mb" ] || fail "a node took $peak_mb MB of memory, the limit is $limit_mb"
pass "bytes=$bytes up_s=$up_s down_s=$down_s node_peak_mb=$peak_mb"
