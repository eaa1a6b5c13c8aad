# SPDX-License-Identifier: Apache-2.0
"""Peers for tests: an actor that speaks the protocol, and a client that takes descriptors and hears what comes unasked."""

import array
import json
import os
import socket
import sys

from tractor import Connection, RpcError

ACTOR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers", "echo-actor.py")
STDIO = os.path.join(os.path.dirname(ACTOR), "stdio-actor.py")
HELLO = {"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1"}}


def echo(name, *args, **keys):
    return {"name": name, "exec": [sys.executable, ACTOR, *args], "channel": "fd", "ready": "channel", **keys}


class Client(Connection):
    """Takes descriptors, says hello when asked to, and keeps what comes unasked."""

    def __init__(self, path=None, sock=None, hello=False):
        self.fds, self.data, self.told = [], b"", []
        if sock is None:
            super().__init__(path)
        else:
            self.sock, self.file, self.ids = sock, sock.makefile("rb"), iter(range(1, 1 << 30, 2))
            sock.settimeout(20)
        if hello:
            self.send(HELLO)
            assert self.receive()["method"] == "$/hello"

    def receive(self):
        while b"\n" not in self.data:
            fds = array.array("i")
            data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(64))
            if not data:
                raise EOFError("the connection was closed")
            for _, _, payload in ancillary:
                fds.frombytes(payload)
            self.fds += list(fds)
            self.data += data
        line, self.data = self.data.split(b"\n", 1)
        return json.loads(line) if line else self.receive()

    def answer(self, ident):
        while True:
            message = self.receive()
            if message.get("id") == ident and "method" not in message:
                self.last = message
                return self.unpack(message)
            self.told.append(message)

    @staticmethod
    def unpack(message):
        if "error" in message:
            raise RpcError(message["error"])
        return message["result"]

    def portal(self, path):
        assert self.call("actor.connect", path=path) == {}
        assert self.last["$"] == {"fds": 1}
        return Client(sock=socket.socket(fileno=self.fds.pop()))

    def until(self, method):
        for i, message in enumerate(self.told):
            if message.get("method") == method:
                return self.told.pop(i)["params"]
        while True:
            message = self.receive()
            if message.get("method") == method:
                return message["params"]

    def eof(self):
        try:
            while True:
                self.receive()
        except (EOFError, ConnectionResetError):
            return True


def ask(client, method, params):
    return client.answer(client.request(method, params))


# --- programs on stdin and stdout ---

def stdio(name, *args, **keys):
    return {"name": name, "exec": [sys.executable, STDIO, *args], "channel": "stdio", **keys}


def say(client, method, *params):
    """A call with an array, for the program's own methods."""
    return client.answer(client.request(method, list(params)))


def adapter(t, path):
    """The pid of its adapter: the process of that name with the actor's id."""
    ident = t.get(path)["id"].encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/comm", encoding="ascii") as comm, open(f"/proc/{pid}/environ", "rb") as environ:
                if comm.read() == "tractor-stdio\n" and b"TRACTOR_ACTOR_ID=" + ident in environ.read().split(b"\0"):
                    return int(pid)
        except OSError:
            pass
    raise AssertionError(f"{path} has no adapter")


def attached(t, path, **keys):
    client = Client(t.path, **keys)
    assert client.call("actor.attach", path=path) == {}
    return client
