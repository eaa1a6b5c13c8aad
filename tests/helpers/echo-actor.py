#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An actor that speaks tractor/1 by hand: on its channel, and on every connection it accepts.

  echo        → its params                     who   → the peers it was told of, in order
  hold        → no answer                      die   → ends itself with signal 9
  exits, children → what $/peer_exited and $/child_exited told
  ask   {method, params} → the supervisor's answer, by its channel
  talk        {path, method, params} → connects to another actor and passes on what that answers
"""
import os
import selectors
import signal
import socket
import sys

from lines import Line

channel = Line(socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"])))
selector = selectors.DefaultSelector()
peers, exits, children, waiting, ids = [], [], [], {}, iter(range(1, 1 << 30, 2))


def ask(method, params, answer):
    ident = next(ids)
    waiting[ident] = answer
    channel.say(id=ident, method=method, params=params)


def pass_on(line, ident):
    def answer(message, fds):
        key = "result" if "result" in message else "error"
        line.say(id=ident, **{key: message[key]})
    return answer


def talk(line, ident, params):
    def connected(message, fds):
        if "error" in message:
            pass_on(line, ident)(message, fds)
            return
        other = Line(socket.socket(fileno=fds[0]))
        selector.register(other.sock, selectors.EVENT_READ, (other, lambda m: pass_on(line, ident)(m, [])))
        other.say(id=1, method=params["method"], params=params.get("params"))
    ask("actor.connect", {"path": params["path"]}, connected)


def serve(line, message):
    method, ident, params = message.get("method"), message.get("id"), message.get("params")
    if method == "echo":
        line.say(id=ident, result=params)
    elif method == "who":
        line.say(id=ident, result=peers)
    elif method in ("exits", "children"):
        line.say(id=ident, result=exits if method == "exits" else children)
    elif method == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif method == "ask":
        ask(params["method"], params["params"], pass_on(line, ident))
    elif method == "talk":
        talk(line, ident, params)
    elif method != "hold" and ident is not None:
        line.say(id=ident, error={"code": -32601, "message": "no such method"})


def on_channel(message):
    method = message.get("method")
    fds = [channel.fds.pop(0) for _ in range(message.get("$", {}).get("fds", 0))]
    if method == "$/accept":
        peers.append(message["params"])
        line = Line(socket.socket(fileno=fds[0]))
        selector.register(line.sock, selectors.EVENT_READ, (line, lambda m: serve(line, m)))
    elif method == "$/peer_exited":
        exits.append(message["params"])
    elif method == "$/child_exited":
        children.append(message["params"])
    elif method == "$/cancel":
        sys.exit(0)
    elif message.get("id") in waiting:
        waiting.pop(message["id"])(message, fds)


channel.say(method="$/hello", params={"protocol": "tractor/1"})
if "late" not in sys.argv:
    channel.say(method="$/ready")
selector.register(channel.sock, selectors.EVENT_READ, (channel, on_channel))
while True:
    for key, _ in selector.select():
        line, handle = key.data
        try:
            alive = line.fill()
        except ConnectionResetError:
            alive = False
        for message in line.lines():
            handle(message)
        if not alive:
            selector.unregister(line.sock)
            line.sock.close()
            if line is channel:
                sys.exit(0)
