#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The main job as a story: a tree of real programs, and nothing left behind. demo.sh [BUILD-DIRECTORY]

set -u

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
build=$(cd "${1:-$top/build}" && pwd -P) || exit 1
ctl=$build/src/tractorctl/tractorctl
[ -x "$ctl" ] || { echo "demo: no tractorctl in $build: contrib/bootstrap build makes it" >&2; exit 1; }

bold='' plain='' grey=''
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
        bold=$'\e[1m' grey=$'\e[2m' plain=$'\e[0m'
fi

say() {
        printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# shown COMMAND…: what one would type, and what it says
shown() {
        printf '%s$ tractorctl %s%s\n' "$grey" "$*" "$plain"
        "$ctl" --socket "$socket" "$@"
}

ask() {
        python3 ask.py "$socket" "$@"
}

fail() {
        echo "demo: $*" >&2
        [ -s run.log ] && sed 's/^/  run: /' run.log >&2
        exit 1
}

clean_up() {
        trap - EXIT
        [ -n "${run-}" ] && kill "$run" 2>/dev/null && wait "$run"
        [ -n "${dir-}" ] && rm -rf "$dir"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

dir=$(mktemp -d "${TMPDIR:-/tmp}/tractor-demo.XXXXXX") || exit 1
cp "$top"/contrib/demo/* "$dir" && cd "$dir" || exit 1
socket=$dir/control.sock

# until_true SECONDS COMMAND…: asked ten times a second
until_true() {
        local turns=$(($1 * 10))
        shift
        until "$@" >/dev/null 2>&1; do
                [ $((turns--)) -gt 0 ] || return 1
                kill -0 "$run" 2>/dev/null || return 1
                sleep 0.1
        done
}

state_is() {
        [[ $(ask tree.get "{\"path\": \"$1\", \"depth\": 0}") == *"\"state\": \"$2\""* ]]
}

pid_of() {
        ask --pids | awk -v path="$1" '$1 == path { print $2 }'
}

has_other_pid() {
        local pid
        pid=$(pid_of "$1")
        [ -n "$pid" ] && [ "$pid" != "$2" ] && state_is "$1" ready
}

# Every process of the tree inherits this mark, whatever becomes of its parents: so the end can be proven.
mark=SHOP_DEMO=$$-$RANDOM
marked() {
        grep -lz "^$mark\$" /proc/[0-9]*/environ 2>/dev/null | cut -d / -f 3
}

say "1. A tree of real programs: a database, a web server that waits for it, two workers, and one that never works."
printf '%s$ tractorctl run shop.json%s\n' "$grey" "$plain"
env "$mark" "$ctl" run shop.json --socket "$socket" >run.log 2>&1 </dev/null &
run=$!
until_true 10 state_is /shop/imports/ledger failed || fail "the tree did not come up"
for path in /shop/db /shop/web /shop/workers/mail /shop/workers/thumbs; do
        until_true 10 state_is $path ready || fail "$path did not become ready"
done
shown tree
shown status | grep -E '^ *(backend|why|version)' || shown status

say "2. The web server answers, and somebody kills it with -9."
ask --get web.sock || fail "the web server does not answer"
before=$(ask --pids)
victim=$(pid_of /shop/web)
printf '%s$ kill -9 %s%s\n' "$grey" "$victim" "$plain"
kill -9 "$victim"
until_true 10 has_other_pid /shop/web "$victim" || fail "the web server did not come back"
ask --get web.sock || fail "the web server does not answer again"
after=$(ask --pids)
echo "What changed, of all process ids:"
diff <(echo "$before") <(echo "$after") | grep '^[<>]'
[ "$(grep -v '^/shop/web ' <<<"$before")" = "$(grep -v '^/shop/web ' <<<"$after")" ] || fail "a sibling was restarted"

say "3. The child that never works was given up, with its reason; the others did not care."
shown status /shop/imports/ledger

say "4. The control socket speaks JSON lines: no library needed."
request='{"jsonrpc": "2.0", "id": 1, "method": "supervisor.status"}'
printf '%s> %s%s\n' "$grey" "$request" "$plain"
ask supervisor.status
instance=$(ask supervisor.status | sed -n 's/.*"instance": "\([^"]*\)".*/\1/p')

say "5. All is stopped, and nothing is left."
count=$(marked | wc -l)
echo "processes of this run: $count"
printf '%s$ kill -INT %s%s\n' "$grey" "$run" "$plain"
kill -INT "$run"
wait "$run"
echo "tractorctl run ended with status $?"
run=
left=$(marked)
[ -z "$left" ] || fail "still running: $left"
# It must have been able to find some in the first place.
[ "$count" -ge 7 ] || fail "only $count processes were ever seen"
while read -r path pid; do
        [ ! -e "/proc/$pid" ] || fail "still running: $path, process $pid"
done <<<"$after"
if [ -d /run/systemd/system ]; then
        units=$(systemctl list-units --all --plain --no-legend "tractor-$instance-*" 2>/dev/null)
        [ -z "$units" ] || fail "units left: $units"
fi
echo "processes of this run: 0"
