#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# test-units.sh TREES-DIR: the service as it would be installed, with the build's own programs: started by its socket, loads
# the trees of TREES-DIR, logs a crash that journalctl -u finds, leaves nothing when its keeper is killed, is back
# then, and stops in order. Runs inside tests/systemd/run-in-systemd.
set -eu

build=$TRACTOR_TEST_BUILD
source=$TRACTOR_TEST_SOURCE
trees=$1
ctl=$build/src/tractorctl/tractorctl
units=/run/systemd/system

fail() {
        echo "test-units: $*" >&2
        journalctl -q -o short-precise --no-pager -n 60 >&2 || true
        exit 1
}

# wait_for SECONDS COMMAND…: until it succeeds
wait_for() {
        local until=$((SECONDS + $1))
        shift
        until "$@" >/dev/null 2>&1; do
                [ $SECONDS -lt $until ] || fail "waited in vain for: $*"
                read -rt 0.05 <> <(:) || true
        done
}

pid_of() {
        "$ctl" --system --json=short status "$1" | sed -n 's/.*"pid":\([0-9]*\).*/\1/p' | head -n 1
}

is_up() {
        "$ctl" --system --json=short status "$1" | grep -q '"state":"ready"'
}

gone() {
        ! kill -0 "$1"
}

no_scopes() {
        [ -z "$(systemctl list-units --all --plain --no-legend 'tractor-*.scope')" ]
}

mkdir -p "$trees" $units
cat >"$trees/shop.json" <<TREE
{ "tractor": 1, "name": "shop", "children": [
    {"name": "web", "exec": ["sleep", "1000"], "cwd": "/"},
    {"name": "stubborn", "exec": ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"], "cwd": "/", "grace_ms": 300} ] }
TREE
sed "s|^ExecStart=[^ ]*|ExecStart=$build/src/keeper/tractord|" "$build/units/system-tractord.service" \
        >$units/tractord.service
cp "$source/units/tractord.socket" $units/
systemctl daemon-reload
systemd-analyze --man=no verify $units/tractord.service $units/tractord.socket 2>&1 | grep tractord && fail "verify complains"

# By its socket alone.
systemctl start tractord.socket
[ "$(stat -c %a:%u /run/tractor/control.sock)" = 600:0 ] || fail "the socket's mode"
! systemctl is-active -q tractord.service || fail "started too early"
"$ctl" --system ping || fail "no answer"
systemctl is-active -q tractord.service || fail "not active"
wait_for 10 is_up /shop/web
pid=$(pid_of /shop/web)
[ -n "$pid" ] || fail "no pid of /shop/web"
grep -q 'tractor-sys-shop.*\.scope$' "/proc/$pid/cgroup" || fail "not in a scope: $(cat "/proc/$pid/cgroup")"
scope=$(sed -n 's|.*/\([^/]*\.scope\)$|\1|p' "/proc/$pid/cgroup")
tr '\0' '\n' <"/proc/$pid/environ" | grep -E '^(NOTIFY_SOCKET|LISTEN_|INVOCATION_ID|JOURNAL_STREAM)' && fail "the service's own environment leaks"

# A crash: one record, by path and by unit.
kill -SEGV "$pid"
wait_for 10 sh -c "journalctl -q --no-pager TRACTOR_PATH=/shop/web TRACTOR_EVENT=crashed | grep SIGSEGV"
[ "$(journalctl -q --no-pager -o cat -u "$scope" TRACTOR_EVENT=crashed | wc -l)" = 1 ] || fail "not found by -u $scope"

# The keeper is killed: its actors go, the service comes back with new ones.
old=$(pid_of /shop/stubborn)
kill -KILL "$(systemctl show -P MainPID tractord.service)"
wait_for 10 gone "$old"
wait_for 20 is_up /shop/stubborn
[ "$(pid_of /shop/stubborn)" != "$old" ] || fail "the same process"

# A stop leaves nothing: neither unit nor process, and the socket with its unit.
new=$(pid_of /shop/stubborn)
systemctl stop tractord.service
gone "$new" 2>/dev/null || fail "an actor outlived the stop"
wait_for 5 no_scopes
[ "$(systemctl show -P Result tractord.service)" = success ] || fail "the stop failed"
[ -S /run/tractor/control.sock ] || fail "the socket went with the service"
systemctl stop tractord.socket
[ ! -e /run/tractor/control.sock ] || fail "the socket stays"

# The user's units: another manager, another instance, the same behaviour.
id=4711
as_user() {
        setpriv --reuid $id --regid $id --clear-groups env HOME=/tmp XDG_RUNTIME_DIR=/run/user/$id "$@"
}
as_user test -x "$build/src/tractorctl/tractorctl" || {
        echo "the build is not accessible to other users: the user's service is not tried" >&2
        exit 0
}
echo "tester:x:$id:$id::/tmp:/bin/sh" >>/etc/passwd
echo "tester:x:$id:" >>/etc/group
echo "tester:*:19000:0:99999:7:::" >>/etc/shadow
mkdir -p /run/systemd/user
sed "s|^ExecStart=[^ ]*|ExecStart=$build/src/keeper/tractord|" "$build/units/user-tractord.service" \
        >/run/systemd/user/tractord.service
cp "$source/units/user/tractord.socket" /run/systemd/user/
systemctl start user@$id.service
as_user systemctl --user start tractord.socket
[ "$(stat -c %a:%u /run/user/$id/tractor/control.sock)" = 600:$id ] || fail "the user's socket's mode"
as_user "$ctl" --user ping || fail "no answer from the user's service"
as_user systemctl --user is-active -q tractord.service || fail "the user's service is not active"
as_user systemctl --user stop tractord.socket tractord.service
[ "$(as_user systemctl --user show -P Result tractord.service)" = success ] || fail "the stop of the user's service failed"
systemctl stop user@$id.service
