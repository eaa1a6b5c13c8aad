#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# test-backend-scope-user.sh PROGRAM: runs test-backend-scope as an ordinary user under a manager of its own; inside of
# run-in-systemd.

set -eu
if [ -z "${TRACTOR_TEST_SYSTEMD-}" ]; then
        echo "skipped: wants a systemd of its own: run-in-systemd" >&2
        [ "${TRACTOR_TEST_STRICT-}" = 1 ] && exit 1
        exit 77
fi
program=$(readlink -f "$1")
name=tractor-test
id -u $name >/dev/null 2>&1 || useradd --system --create-home $name
uid=$(id -u $name)
# Whatever the modes of the directories above it.
install -D -m 755 "$program" "/run/tractor-test/$(basename "$program")"
systemctl start "user@$uid.service"
set +e
setpriv --reuid="$uid" --regid="$(id -g $name)" --init-groups env XDG_RUNTIME_DIR="/run/user/$uid" HOME=/ \
        systemd-run --user --quiet --wait --pipe -E TRACTOR_TEST_SYSTEMD=1 \
        "/run/tractor-test/$(basename "$program")"
status=$?
systemctl stop "user@$uid.service"
exit $status
