#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The example guest_glib: tasks and GLib's own sources take turns, and all of it ends well.

set -u

example=$TRACTOR_TEST_BUILD/docs/examples/guest_glib
if [ ! -x "$example" ]; then
        echo 'skipped: built without glib-2.0' >&2
        [ "${TRACTOR_TEST_STRICT-}" = 1 ] && exit 1
        exit 77
fi
told=$("$example") || { echo "$told; status $?"; exit 1; }
for line in 'task one: 1' 'task one: 3' 'task two: 3' 'glib: tick' 'tasks: done'; do
        grep -qxF "$line" <<<"$told" || { echo "no '$line' in: $told"; exit 1; }
done
