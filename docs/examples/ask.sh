#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The control socket from a shell: one line of JSON to socat, one line back.
set -eu

socket=${TRACTOR_SOCKET:-/run/tractor/control.sock}

# ask METHOD PARAMS: the answer's line; fails if it is an error
ask() {
        local answer
        answer=$(printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":%s}\n' "$1" "$2" |
                socat -t 30 - "UNIX-CONNECT:$socket")
        printf '%s\n' "$answer"
        [[ $answer != *'"error":'* ]]
}

ask supervisor.ping '{}'
ask tree.load '{"tree":{"tractor":1,"name":"from-shell","children":[{"name":"sleeper","exec":["sleep","1000"]}]}}'
ask tree.get '{"path":"/from-shell/sleeper","fields":["state"]}'
ask actor.cancel '{"path":"/from-shell/nothing"}' || echo "as expected"
ask tree.unload '{"path":"/from-shell"}'
