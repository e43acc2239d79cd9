#!/usr/bin/env bash
# The command line keeps what it says: downloads are taken up again and verified, trees are sent once, exit codes are pinned.
#
# check: get goes on after SIGKILL with a Range, wrong bytes give 8, put -r sends nothing twice, exit codes, doctor, man
# ci: yes
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
check_begin cli
need_b3sum

# Says that a command must end with the status $1; stdout and stderr go to WORK/out and WORK/err.
ends() {
  local want=$1 status=0
  shift
  timeout 60 "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
  [ "$status" = "$want" ] || fail "status $status in place of $want: ${*##*/} ($(head -c 300 "$WORK/err" | tr '\n' ' '))"
}

mode() { echo "$*" >"$WORK/proxy/mode"; }
# Changes the byte $2 of the file $1; a fixed letter would be there already once in 256 times.
change_byte() {
  local byte
  byte=$(od -An -tu1 -j "$2" -N 1 "$1")
  # shellcheck disable=SC2059
  printf "\\x$(printf %x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
parts() { find "$1" -maxdepth 1 -name '.flotilla-*' | wc -l; }
# Says whether a part of more than $2 bytes lies in the folder $1.
# shellcheck disable=SC2317
part_has() { [ "$(find "$1" -name '.flotilla-*.part' -size +"$2"c | wc -l)" = 1 ]; }
# Waits until the command $@ succeeds.
until_true() {
  local tries
  for ((tries = 0; tries < 500; tries++)); do
    "$@" && return 0
    sleep 0.02
  done
  fail "waited 10 s for: $*"
}

dev_up --clusters 1
mkdir "$WORK/proxy" "$WORK/down"
mode pass
python3 "$CHECKS/cli_proxy.py" "${FLOTILLA_API#http://}" "$WORK/proxy" </dev/null 2>"$WORK/proxy.log" &
on_end "kill $! 2>/dev/null || true"
until_true test -s "$WORK/proxy/port"
proxy=http://127.0.0.1:$(cat "$WORK/proxy/port")
fl=$FLOTILLA
# What takes long because the client tries for some seconds runs meanwhile.
(
  status=0
  "$fl" stat demo/x --api http://127.0.0.1:1 >/dev/null 2>"$WORK/unreachable.log" </dev/null || status=$?
  echo "$status" >"$WORK/unreachable.status"
) &
unreachable=$!

# A download that is killed in the middle goes on.
size=$((24 << 20))
head -c $size /dev/urandom >"$WORK/big"
ends 0 "$fl" put "$WORK/big" demo/big
etag=$(b3sum_of "$WORK/big")

# Fetches demo/big to DOWN/$1 until 16 MiB are there, and ends the command with the signal $2; gives its status.
break_off() {
  local pid status=0
  mode stall $((16 << 20))
  # Signals of a job in the background are ignored without a process of its own that resets them.
  python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])' \
    "$fl" get demo/big "$WORK/down/$1" --api "$proxy" >/dev/null 2>"$WORK/broken.log" </dev/null &
  pid=$!
  until_true part_has "$WORK/down" $((8 << 20))
  kill "-$2" "$pid"
  wait "$pid" || status=$?
  [ ! -e "$WORK/down/$1" ] || fail "a part of the file has the file's name after $2"
  [ "$(parts "$WORK/down")" = 2 ] || fail "nothing to go on with after $2"
  mode pass
  : >"$WORK/proxy/requests"
  echo "$status" >"$WORK/broken.status"
}
break_off a KILL
ends 0 "$fl" get demo/big "$WORK/down/a" --api "$proxy"
cmp -s "$WORK/big" "$WORK/down/a" || fail "the file that was taken up again differs"
read -r _ _ range if_range <"$WORK/proxy/requests"
[ "$(wc -l <"$WORK/proxy/requests")" = 1 ] || fail "more than one request to go on: $(cat "$WORK/proxy/requests")"
[[ $range =~ ^bytes=([0-9]+)-$ && ${BASH_REMATCH[1]} -ge $((8 << 20)) ]] || fail "asked for '$range' to go on"
[ "$if_range" = "\"$etag\"" ] || fail "If-Range is $if_range"
[ "$(parts "$WORK/down")" = 0 ] || fail "parts are left"
resumed_at=${BASH_REMATCH[1]}

# Ctrl-C leaves a part too; a part that was damaged is noticed.
break_off b INT
[ "$(cat "$WORK/broken.status")" = 130 ] || fail "status $(cat "$WORK/broken.status") after SIGINT"
part=$(find "$WORK/down" -name '.flotilla-*.part')
change_byte "$part" 5000
ends 0 "$fl" get demo/big "$WORK/down/b"
cmp -s "$WORK/big" "$WORK/down/b" || fail "a damaged part came under the final name"

# A file that changed meanwhile starts over.
break_off c KILL
head -c $((size - 5)) /dev/urandom >"$WORK/big2"
ends 0 "$fl" put "$WORK/big2" demo/big
ends 0 "$fl" get demo/big "$WORK/down/c" --api "$proxy"
cmp -s "$WORK/big2" "$WORK/down/c" || fail "two versions are mixed"

# One command at a time fetches to one name.
mode stall $((16 << 20))
"$fl" get demo/big "$WORK/down/d" --api "$proxy" >/dev/null 2>&1 </dev/null &
first=$!
until_true part_has "$WORK/down" $((1 << 20))
ends 4 "$fl" get demo/big "$WORK/down/d"
kill -KILL $first
wait $first || true
rm -f "$WORK"/down/.flotilla-*

# A broken connection is taken up within the command, also to stdout.
mode cut $((9 << 20))
ends 0 "$fl" get demo/big - --api "$proxy"
cmp -s "$WORK/big2" "$WORK/out" || fail "stdout differs after breaks"

# Wrong bytes never get the name.
mode flip 12345678
ends 8 "$fl" get demo/big "$WORK/down/e" --api "$proxy"
if [ -e "$WORK/down/e" ] || [ "$(parts "$WORK/down")" != 0 ]; then fail "wrong bytes were kept"; fi
ends 8 "$fl" get demo/big - --api "$proxy"

# A tree is sent once.
mode pass
mkdir -p "$WORK/tree/sub dir"
for i in $(seq 40); do
  head -c $((i * 777)) "$WORK/big" >"$WORK/tree/f$i"
  echo "$i" >"$WORK/tree/sub dir/f$i"
done
ends 0 "$fl" put -r "$WORK/tree" demo/tree
: >"$WORK/proxy/requests"
ends 0 "$fl" put -r "$WORK/tree" demo/tree --api "$proxy"
[ "$(grep -c ^PUT "$WORK/proxy/requests")" = 0 ] || fail "a tree that was there was sent again"
grep -q '80 were there already' "$WORK/out" || fail "put -r says: $(cat "$WORK/out")"
change_byte "$WORK/tree/f7" 7
ends 0 "$fl" put -r "$WORK/tree" demo/tree --api "$proxy"
sent=$(awk '$1 == "PUT" { print $2 }' "$WORK/proxy/requests")
[ "$sent" = /v1/files/demo/tree/f7 ] || fail "a change was not sent alone, but: ${sent:-nothing}"
ends 0 "$fl" get -r demo/tree "$WORK/back"
diff -r "$WORK/tree" "$WORK/back" >/dev/null || fail "the tree differs"
: >"$WORK/proxy/requests"
ends 0 "$fl" get -r demo/tree "$WORK/back" --api "$proxy"
[ "$(grep -c '^GET /v1/files/demo/tree' "$WORK/proxy/requests")" = 0 ] || fail "a tree that was here was fetched again"

# Exit codes, and errors as problems.
ends 2 "$fl" put
ends 2 "$fl" get demo/big --json
jq -e '.exit == 2' "$WORK/err" >/dev/null || fail "a usage error is no problem document: $(cat "$WORK/err")"
ends 3 "$fl" get demo/none "$WORK/down/none" --json
jq -e '.code == "file_not_found" and .exit == 3' "$WORK/err" >/dev/null || fail "no problem document: $(cat "$WORK/err")"
ends 3 "$fl" rm demo/none
FLOTILLA_TOKEN=wrong ends 5 "$fl" stat demo/big
ends 4 "$fl" put "$WORK/tree/f1" demo/big --if-none-match '*'
ends 0 "$fl" cp demo/tree/f1 demo/copies/
ends 4 "$fl" mv demo/tree/f2 demo/copies/f1 --if-none-match '*'
ends 0 "$fl" mv demo/copies/f1 demo/moved
ends 3 "$fl" stat demo/copies/f1
ends 0 "$fl" get demo/moved "$WORK/down/moved"
cmp -s "$WORK/tree/f1" "$WORK/down/moved" || fail "what was copied and moved differs"
ends 0 "$fl" mv -r demo/tree demo/other
ends 3 "$fl" get -r demo/tree "$WORK/down/gone"
ends 0 "$fl" get -r demo/other "$WORK/other"
diff -r "$WORK/tree" "$WORK/other" >/dev/null || fail "the tree that was moved differs"
ends 0 "$fl" put "$WORK/tree/f1" demo/odd/f1
api -T "$WORK/tree/f1" /v1/files/demo/odd//f2 >/dev/null
ends 9 "$fl" get -r demo/odd "$WORK/odd"
[ "$(find "$WORK/odd" -type f | wc -l)" = 1 ] || fail "get -r stopped at the file that can't be"
"$fl" ls -r demo 2>"$WORK/err" | head -n 1 >/dev/null || true
[ ! -s "$WORK/err" ] || fail "a closed pipe is told: $(cat "$WORK/err")"

# What a shell and man need.
# shellcheck disable=SC2016
completed=$(bash -c 'source <("$1" completions bash); COMP_WORDS=(flotilla sta) COMP_CWORD=1; _flotilla flotilla sta flotilla
  echo "${COMPREPLY[@]}"' _ "$fl")
[ "$completed" = "stat status" ] || fail "bash completes 'sta' to '$completed'"
ends 0 "$fl" man --out "$WORK/man"
pages=$(find "$WORK/man" -name '*.1' | wc -l)
[ "$pages" -ge 20 ] || fail "$pages manual pages"
if command -v groff >/dev/null; then
  groff -man -Tutf8 -Kutf8 -ww -z "$WORK"/man/*.1 2>"$WORK/err" || fail "groff: $(head -n 3 "$WORK/err")"
  [ ! -s "$WORK/err" ] || fail "groff warns: $(head -n 3 "$WORK/err")"
else
  pages="$pages(not-rendered)"
fi
ends 0 "$fl" config show --origin
grep -q 'FLOTILLA_API' "$WORK/out" || fail "config show: $(cat "$WORK/out")"
! grep -qF "$FLOTILLA_TOKEN" "$WORK/out" || fail "config show prints the token"

# The doctor of a healthy deployment and of a broken one.
ends 0 "$fl" doctor
[ "$(grep -cE '^OK +(cluster|dev) ' "$WORK/out")" = 2 ] || fail "doctor: $(cat "$WORK/out")"
kill -KILL "$(dev_json '.processes[] | select(.name == "a-n2") | .pid')"
ends 1 "$fl" doctor --json
jq -se 'any(.state == "FAIL" and .check == "dev" and (.detail | contains("a-n2")) and .fix != null)' "$WORK/out" \
  >/dev/null || fail "doctor does not name the dead node: $(cat "$WORK/out")"

wait $unreachable || true
[ "$(cat "$WORK/unreachable.status")" = 6 ] || fail "status $(cat "$WORK/unreachable.status") without a server"
pass "resumed_at=$resumed_at tree=80 pages=$pages"
