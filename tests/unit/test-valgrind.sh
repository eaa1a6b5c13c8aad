#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# test-valgrind.sh PROGRAM CASE…: these cases under memcheck, which must find nothing, and take no stack for another.

set -u

if ! command -v valgrind >/dev/null; then
        echo 'skipped: no valgrind' >&2
        [ "${TRACTOR_TEST_STRICT-}" = 1 ] && exit 1
        exit 77
fi
# Its header tells it of stacks; who installed it after the build has none of that.
if ! ninja -C "$TRACTOR_TEST_BUILD" -t deps | grep -q 'valgrind/valgrind\.h'; then
        echo 'skipped: built before valgrind was there; build anew' >&2
        [ "${TRACTOR_TEST_STRICT-}" = 1 ] && exit 1
        exit 77
fi
log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
valgrind --quiet --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible \
        --error-exitcode=9 --log-file="$log" "$@"
status=$?
cat "$log" >&2
# Also its warnings, such as that of a client that switches stacks, are a failure.
[ $status = 0 ] && [ ! -s "$log" ]
