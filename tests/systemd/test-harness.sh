#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the other tests of this rung rely on: a whole system manager, nobody else's, and a harness that notices.
set -u
failed=0

check() {
        if ! "$@"; then
                echo "failed: $*"
                failed=1
        fi
}

nested() {
        local wanted=$1
        shift
        "$TRACTOR_TEST_SOURCE/tests/systemd/run-in-systemd" "$@" >"$TRACTOR_TEST_OUT" 2>&1
        [ $? = "$wanted" ] || { cat "$TRACTOR_TEST_OUT"; return 1; }
}

TRACTOR_TEST_OUT=$(mktemp)
check [ "$(cat /proc/1/comm)" = systemd ]
check [ "$(systemctl is-system-running)" = running ]
check grep -q '^0::/system.slice/in-systemd.service$' /proc/self/cgroup
check systemd-run --quiet --scope --unit=probe grep -q '^0::/system.slice/probe.scope$' /proc/self/cgroup
check journalctl --quiet --boot --lines=1 --output=cat
check busctl --quiet status org.freedesktop.systemd1 >/dev/null
check systemctl start user@0.service
check env XDG_RUNTIME_DIR=/run/user/0 systemd-run --user --quiet --scope true

# The harness itself, one namespace deeper.
check nested 0 true
check nested 7 sh -c 'exit 7'
check nested 99 systemd-run --quiet --unit=tractor-left.service sleep 1000
check nested 99 mkdir /sys/fs/cgroup/tractor-left
check nested 124 systemctl exit
check nested 0 --orderly --journal systemd-run --quiet --unit=other.service sleep 1000
check grep -q 'Stopped other.service' "$TRACTOR_TEST_OUT"
share=$(mktemp -d)
check nested 0 --share "$share" touch "$share/shared" /not-shared
check [ -e "$share/shared" ]
check [ ! -e /not-shared ]
exit $failed
