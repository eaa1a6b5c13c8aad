#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The guard must see each kind of thing a test can leave behind, and pass on what the test said.
set -u
guard=$1
failed=0
mark=$(mktemp "$TMPDIR/mark.XXXXXX")
trap 'rm -f "$mark"' EXIT

# expect STATUS PATTERN OPTIONS… COMMAND: run under a guard of our own; PATTERN is found in what it prints
expect() {
        local wanted=$1 pattern=$2 out status
        shift 2
        out=$("$guard" "$@" 2>&1 </dev/null)
        status=$?
        if [ $status != "$wanted" ] || ! grep -qe "$pattern" <<<"$out"; then
                echo "guard $* ended with $status, not $wanted, or did not say \"$pattern\":"
                echo "$out"
                failed=1
        fi
}

expect 0 hello echo hello
expect 3 '' sh -c 'exit 3'
expect 139 'ended by signal 11' sh -c 'kill -SEGV $$'
expect 125 nonesuch nonesuch
expect 124 'still running: .*sleep 1234' -t 1 sleep 1234
TRACTOR_TEST_STRICT=0 expect 77 '' sh -c 'exit 77'
TRACTOR_TEST_STRICT=1 expect 1 'a skip is a failure' sh -c 'exit 77'

expect 99 'process .*sleep 1235' sh -c 'sleep 1235 &'
expect 99 'process .*sleep 1236' sh -c '(setsid sleep 1236 &)'
expect 5 'process .*sleep 1237' sh -c 'sleep 1237 & exit 5'
# A leaked process must also have been ended: it would otherwise write its mark.
expect 99 'process' sh -c "(setsid sh -c 'trap \"\" TERM HUP; sleep 2; echo alive >$mark' &)"
expect 99 'file .*/x$' sh -c 'touch $TMPDIR/x'
expect 99 'directory .*/d$' sh -c 'mkdir $TMPDIR/d'
expect 0 '' sh -c 'touch $STATE_DIRECTORY/log'
expect 99 'sanitizer reported' sh -c 'echo ==1==ERROR >$TMPDIR/sanitizer.1'
expect 0 '' sh -c 'echo "==2==Unable to get registers from thread 1." >$TMPDIR/sanitizer.1'
if [ "$(id -u)" = 0 ]; then
        expect 99 'file /run/tractor/sock$' sh -c 'mkdir /run/tractor; touch /run/tractor/sock'
        expect 0 '' sh -c 'mkdir /run/tractor; touch /run/tractor/sock; rm /run/tractor/sock'
        if grep -q ' cgroup2 ' /proc/self/mounts; then
                v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
                expect 99 'cgroup /main/a$' mkdir "$v2/main/a"
                expect 99 'cgroup /b/c$' mkdir -p "$v2/b/c"
                expect 99 'process .*sleep 1238' \
                        sh -c "mkdir $v2/d; echo \$\$ >$v2/d/cgroup.procs; setsid sleep 1238 &"
                # The nested guards' own directories.
                if [ -n "$(find "$v2" -name 'tractor-test-*')" ]; then
                        echo "the guard leaves its own cgroup behind"
                        failed=1
                fi
        fi
fi
if [ -s "$mark" ]; then
        echo "a leaked process outlived the guard"
        failed=1
fi
exit $failed
