#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An actor that serves dialogs, by hand: on its channel, and on every connection it accepts. It keeps to the credit it
was given, and notes what it hears in the file that its argument names, one JSON value a line. With a second one, `late`, it
answers hellos at SIGUSR1.

  count {n}    → items 0 … n-1, then the result n          mirror  → each item comes back; its result is their number
  sum          → no items; their sum, after $/stop         hold    → one item, then nothing until it is cancelled
  die {n}      → n items, then the end by signal 9         fail    → an error of its own
  sent         → how many items it has sent to anyone       slow    → no answer, until it is cancelled
"""
import json
import os
import selectors
import signal
import socket
import sys

from lines import Line

sent, greeted = [0], []
notes = open(sys.argv[1], "a", buffering=1) if len(sys.argv) > 1 else None


def note(**value):
    if notes:
        notes.write(json.dumps(value) + "\n")


class Dialog:
    def __init__(self, line, message):
        self.line, self.id, self.method = line, message["id"], message["method"]
        self.credit = message["$"].get("credit", 64)
        self.params = message.get("params") or {}
        self.queue, self.taken, self.sum = [], 0, 0
        self.end = None
        line.dialogs[self.id] = self
        line.say(method="$/started", params={"id": self.id, "value": None, "credit": 64, "overrun": "wait"})
        if self.method in ("count", "die"):
            self.queue = list(range(self.params["n"]))
            self.end = self.params["n"]
        elif self.method == "hold":
            self.queue = ["held"]
        self.flow()

    def flow(self):
        while self.queue and self.credit > 0:
            self.line.say(method="$/next", params={"id": self.id, "value": self.queue.pop(0)})
            self.credit -= 1
            sent[0] += 1
        if self.queue or self.end is None:
            return
        if self.method == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        self.over(result=self.end)

    def item(self, value):
        self.taken += 1
        if self.method == "mirror":
            self.queue.append(value)
        elif self.method == "sum":
            self.sum += value
        self.line.say(method="$/credit", params={"id": self.id, "n": 1})
        self.flow()

    def stop(self):
        note(stopped=self.method)
        if self.method in ("mirror", "sum"):
            self.end = self.taken if self.method == "mirror" else self.sum
            self.flow()

    def over(self, **end):
        note(ended=self.method)
        self.line.say(id=self.id, **end)
        self.line.dialogs.pop(self.id, None)


def serve(line, message):
    method, ident, params = message.get("method"), message.get("id"), message.get("params")
    dialog = line.dialogs.get((params or {}).get("id")) if isinstance(params, dict) else None
    if method == "$/hello" and "late" in sys.argv:
        greeted.append(line)
    elif method == "$/hello":
        line.say(method="$/hello", params={"protocol": "tractor/1"})
    elif method == "$/credit" and dialog:
        dialog.credit += params["n"]
        dialog.flow()
    elif method == "$/next" and dialog:
        dialog.item(params["value"])
    elif method == "$/stop" and dialog:
        dialog.stop()
    elif method == "$/cancel" and dialog:
        note(cancelled=dialog.method)
        dialog.over(error={"code": -32800, "message": "cancelled"})
    elif method == "$/cancel":
        note(cancelled=params["id"])
        line.say(id=params["id"], error={"code": -32800, "message": "cancelled"})
    elif method == "fail":
        line.say(id=ident, error={"code": -32001, "message": "it went wrong", "data": {"type": "Sad"}})
    elif ident is not None and message.get("$", {}).get("ctx"):
        Dialog(line, message)
    elif method == "sent":
        line.say(id=ident, result=sent[0])
    elif method == "slow":
        note(asked="slow")
    elif method == "echo" and ident is not None:
        line.say(id=ident, result=params)
    elif ident is not None:
        line.say(id=ident, error={"code": -32601, "message": "no such method"})
    elif not method.startswith("$/"):
        note(told=method, params=params)


def greet(*_):
    while greeted:
        greeted.pop().say(method="$/hello", params={"protocol": "tractor/1"})
        note(greeted=True)


signal.signal(signal.SIGUSR1, greet)
channel = Line(socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"])))
selector = selectors.DefaultSelector()


def on_channel(message):
    method = message.get("method")
    fds = [channel.fds.pop(0) for _ in range(message.get("$", {}).get("fds", 0))]
    if method == "$/accept":
        line = Line(socket.socket(fileno=fds[0]))
        selector.register(line.sock, selectors.EVENT_READ, (line, lambda m: serve(line, m)))
    elif method == "$/cancel":
        sys.exit(0)


channel.say(method="$/hello", params={"protocol": "tractor/1"})
channel.say(method="$/ready")
selector.register(channel.sock, selectors.EVENT_READ, (channel, on_channel))
while True:
    for key, _ in selector.select():
        line, handle = key.data
        try:
            alive = line.fill()
            for message in line.lines():
                handle(message)
        except (ConnectionResetError, BrokenPipeError):
            alive = False
        if not alive:
            selector.unregister(line.sock)
            try:
                line.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            line.sock.close()
            note(closed=True)
            if line is channel:
                sys.exit(0)
