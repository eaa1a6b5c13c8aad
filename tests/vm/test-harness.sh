#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the other tests of this rung rely on: a machine that enforces limits, each shown by what it does.
set -u
failed=0

check() {
        if ! "$@"; then
                echo "failed: $*"
                failed=1
        fi
}

check [ "$(cat /proc/1/comm)" = systemd ]
check [ "$(systemctl is-system-running)" = running ]
for controller in cpu memory pids io; do
        check grep -qw $controller /sys/fs/cgroup/cgroup.controllers
done

# The first line of tail's input never ends.
systemd-run --quiet --unit=keep --slice=hungry.slice sleep infinity
check [ "$(systemd-run --quiet --wait --slice=hungry.slice -p MemoryMax=20M -p MemorySwapMax=0 tail /dev/zero;
        echo $?)" != 0 ]
check grep -q '^oom_kill 1$' /sys/fs/cgroup/hungry.slice/memory.events
systemctl stop keep.service

out=$(systemd-run --quiet --pipe -p TasksMax=5 bash -c 'for i in {1..20}; do sleep 1 & done' 2>&1)
check grep -q 'Resource temporarily unavailable' <<<"$out"

systemd-run --quiet --unit=spin -p CPUQuota=10% bash -c 'while :; do :; done'
for _ in {1..100}; do
        read -r _ throttled < <(grep nr_throttled /sys/fs/cgroup/system.slice/spin.service/cpu.stat)
        [ "$throttled" -gt 0 ] && break
        sleep 0.1
done
check [ "$throttled" -gt 0 ]
systemctl stop spin.service
exit $failed
