#!/usr/bin/env bash
# Checks the units of examples/systemd where the manual puts them: `ci/units.sh`. Starts nothing.
#
# systemd-analyze looks at a tree that has them, the program that they start, and this machine's own units.
set -euo pipefail
# shellcheck source=env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"
cd "$ROOT"

# 0 is closed and 100 open; most of what is left is that a server has a network.
EXPOSURE_MAX=20

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
root=$out/root
installed=$root/etc/systemd/system

fail() { echo "units: $*" >&2; exit 1; }

# What systemd-analyze has to say; of an unknown key it says so, and ends with 0 nevertheless.
said() { systemd-analyze verify --root="$root" "$@" 2>&1 || echo "systemd-analyze ended with $?"; }

mkdir -p "$installed" "$root/usr/lib/systemd"
cp -r /usr/lib/systemd/system "$root/usr/lib/systemd/system"
install -m 644 examples/systemd/*.service "$installed"
mapfile -t units < <(cd "$installed" && ls)
[ ${#units[@]} = 2 ] || fail "there are ${#units[@]} units: ${units[*]}"
mapfile -t programs < <(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' "$installed"/*.service | sort -u)
[ ${#programs[@]} = 1 ] || fail "the units start ${programs[*]:-nothing}"
install -D -m 755 /bin/true "$root${programs[0]}"

for unit in "${units[@]}"; do
  words=$(said "$unit")
  [ -z "$words" ] || fail "$words"
  systemd-analyze security --root="$root" --offline=true --threshold="$EXPOSURE_MAX" --no-pager "$unit" >"$out/security.log" ||
    { cat "$out/security.log" >&2; fail "$unit leaves more open than $EXPOSURE_MAX"; }
done

# What finds nothing may have looked at nothing.
sed -i 's/^UMask=/UMasq=/' "$installed/${units[0]}"
[[ $(said "${units[0]}") = *UMasq* ]] || fail "systemd-analyze takes a key that there is not"
rm "$root${programs[0]}"
[[ $(said "${units[1]}") = *"not executable"* ]] || fail "systemd-analyze takes a program that is not there"
sed -i '/^\(User\|CapabilityBoundingSet\|SystemCallFilter\|RestrictAddressFamilies\|Private.*\|Protect.*\)=/d' "$installed/${units[1]}"
! systemd-analyze security --root="$root" --offline=true --threshold="$EXPOSURE_MAX" --no-pager "${units[1]}" >/dev/null 2>&1 ||
  fail "systemd-analyze takes a unit with all rights"
echo "units: ${units[*]} are sound: $(tail -n 1 "$out/security.log" | sed 's/^[^O]*//')"
