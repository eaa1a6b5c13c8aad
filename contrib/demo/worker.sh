# SPDX-License-Identifier: Apache-2.0
# A worker like many: a shell that waits for something to do. worker.sh NAME
: >"$1.ready"
while :; do
        sleep 1
done
