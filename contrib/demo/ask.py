# SPDX-License-Identifier: Apache-2.0
"""The control socket needs no library: ask.py SOCKET METHOD [PARAMS] prints the result, as JSON.

    ask.py SOCKET --pids         every actor's path and process id, one a line
    ask.py SOCKET --get PATH     GET / from a web server on a UNIX socket
"""
import json
import socket
import sys


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    s.connect(path)
    return s


def ask(path, method, params):
    with connect(path) as s, s.makefile("rw") as f:
        f.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
        f.flush()
        reply = json.loads(f.readline())
    if "error" in reply:
        sys.exit(f"{method}: {reply['error']['message']}")
    return reply["result"]


def print_pids(node):
    if "pid" in node:
        print(node["path"], node["pid"])
    for child in node.get("children", []):
        print_pids(child)


def main(path, method, params="{}"):
    if method == "--pids":
        print_pids(ask(path, "tree.get", {}))
    elif method == "--get":
        with connect(params) as s:
            s.sendall(b"GET / HTTP/1.0\r\n\r\n")
            print(s.makefile().read().split("\n\n", 1)[1], end="")
    else:
        print(json.dumps(ask(path, method, json.loads(params))))


main(*sys.argv[1:])
