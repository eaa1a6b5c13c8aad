#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An actor with tasks, by hand: on every connection it accepts it answers `$/tasks` with its argument, which is JSON, or with
-32601 without one, and a hello with its own."""
import json
import os
import socket
import sys
import threading

from lines import Line

HELLO = {"method": "$/hello", "params": {"protocol": "tractor/1"}}


def serve(line):
    while line.fill():
        for message in line.lines():
            if message.get("method") == "$/hello":
                line.say(**HELLO)
            elif message.get("method") == "$/tasks" and len(sys.argv) > 1:
                line.say(id=message["id"], result=json.loads(sys.argv[1]))
            elif "id" in message:
                line.say(id=message["id"], error={"code": -32601, "message": "no such method"})


channel = Line(socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"])))
channel.say(**HELLO)
channel.say(method="$/ready")
while channel.fill():
    for said in channel.lines():
        if said.get("method") == "$/accept":
            peer = Line(socket.socket(fileno=channel.fds.pop(0)))
            threading.Thread(target=serve, args=[peer], daemon=True).start()
        elif said.get("method") == "$/cancel":
            sys.exit(0)
