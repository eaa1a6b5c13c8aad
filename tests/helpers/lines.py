# SPDX-License-Identifier: Apache-2.0
"""JSON lines and descriptors, for actors that speak the protocol by hand."""
import array
import json
import socket


class Line:
    """One connection, with what has come over it."""

    def __init__(self, sock):
        self.sock, self.data, self.fds = sock, b"", []
        self.dialogs = {}  # for those that serve them

    def fill(self):
        fds = array.array("i")
        data, ancillary, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(payload)
        self.fds += list(fds)
        self.data += data
        return bool(data)

    def lines(self):
        while b"\n" in self.data:
            line, self.data = self.data.split(b"\n", 1)
            if line:
                yield json.loads(line)

    def say(self, **message):
        self.sock.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
