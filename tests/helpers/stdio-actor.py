#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program that serves JSON-RPC on stdin and stdout, and knows nothing else.

  raw     → its params, byte for byte            seen    → the lines that were no requests, as they came
  hold    → no answer before `release`, which answers all held in reverse order
  tell    [method, params] → says that           ask     [method, params] → asks that; the answer is the result, whole
  say     [text] → prints it as it is, and no answer
  big     [n] → a string of that length          flood   [method, n, size] → says it so often, then answers
  fds     → what it has open                     close   [0 or 1] → closes that, answered before
  last    [fifo, text] → waits for the end of what comes there, prints the text, and dies
  exit    [code]                                 die     → kills itself
An argument `eof=N` is the exit code at the end of its input; `stays`: it lives on then; `deaf`: and ignores SIGTERM; `hello=PATH`: it asks
`welcome` of whoever is there at its start, and makes that file when it has its answer; `file=PATH`: it makes that one when it
sees the end of its input.
"""
import json
import os
import signal
import sys

options = dict((a.split("=") + [""])[:2] for a in sys.argv[1:])
held, asked, seen, numbers = [], {}, [], iter(range(1, 1 << 30))


def put(text):
    data = text.encode() if isinstance(text, str) else text
    while data:
        data = data[os.write(1, data):]


def say(**message):
    put(json.dumps({"jsonrpc": "2.0", **message}) + "\n")


def ask(method, params, answer_to):
    number = f"q{next(numbers)}"
    asked[number] = answer_to
    say(id=number, method=method, params=params)


def serve(line, message):
    ident, params = message["id"], message.get("params")
    method = message["method"]
    if method == "raw":
        text = line[line.index('"params":') + 9:line.rindex("}")]
        put('{"jsonrpc":"2.0","id":%d,"result":%s}\n' % (ident, text))
    elif method == "hold":
        held.append((ident, params))
        say(method="held", params=[len(held)])
    elif method == "release":
        say(id=ident, result=len(held))
        while held:
            number, value = held.pop()
            say(id=number, result=value)
    elif method == "tell":
        say(method=params[0], params=params[1])
        say(id=ident, result=None)
    elif method == "ask":
        ask(params[0], params[1], ident)
    elif method == "say":
        put(params[0].replace("$ID", str(ident)))
    elif method == "seen":
        say(id=ident, result=seen)
    elif method == "big":
        say(id=ident, result="x" * params[0])
    elif method == "flood":
        for i in range(params[1]):
            say(method=params[0], params=[i, "x" * params[2]])
        say(id=ident, result=None)
    elif method == "fds":
        say(id=ident, result=[os.readlink(f"/proc/self/fd/{n}") for n in range(20) if os.path.exists(f"/proc/self/fd/{n}")])
    elif method == "close":
        say(id=ident, result=None)
        os.close(params[0])
        if params[0] == 0:
            signal.pause()
    elif method == "last":
        with open(params[0], "rb") as f:
            f.read()
        put(params[1].replace("$ID", str(ident)))
        os.kill(os.getpid(), signal.SIGKILL)
    elif method == "exit":
        os._exit(params[0])
    elif method == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    else:
        say(id=ident, error={"code": -32601, "message": f"no {method}", "data": {"mine": 1.50}})


if "deaf" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "hello" in options:
    ask("welcome", {"n": 1}, None)
    seen.append(sys.stdin.readline())
    open(options["hello"], "w", encoding="ascii").close()
while True:
    line = sys.stdin.readline()
    if not line:
        break
    message = json.loads(line)
    if "method" in message and "id" in message:
        serve(line, message)
    elif "method" not in message and asked.get(message["id"]) is not None:
        say(id=asked.pop(message["id"]), result=message)
    else:
        seen.append(line)
if "file" in options:
    open(options["file"], "w", encoding="ascii").close()
while "deaf" in options or "stays" in options:
    signal.pause()
sys.exit(int(options.get("eof", 0)))
