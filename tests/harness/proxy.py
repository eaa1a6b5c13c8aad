# SPDX-License-Identifier: Apache-2.0
"""A socket that leads to the supervisor's: what passes can be overheard, and cut at any byte."""

import contextlib
import os
import socket
import threading

from tractor import LIMIT


class Proxy:
    """Between tractorctl and the supervisor; cut(direction, data) → None, or how many bytes of it still go through
    before both ends are closed. A cut is made once."""

    def __init__(self, target, cut):
        self.target, self.cut, self.cuts, self.connections = target, cut, 0, 0
        self.path = f"{target}.proxy"
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(self.path)
        self.listening.listen()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            self.connections += 1
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self.target)
            except OSError:
                client.close()
                continue
            for direction, a, b in (("up", client, server), ("down", server, client)):
                threading.Thread(target=self.pump, args=(direction, a, b), daemon=True).start()

    def read(self, direction, a):
        return socket.recv_fds(a, 65536, 16)[:2]

    def write(self, b, data, fds):
        if fds:
            data = data[socket.send_fds(b, [data], fds):]
            for fd in fds:
                os.close(fd)
        b.sendall(data)

    def pump(self, direction, a, b):
        with contextlib.suppress(OSError):
            while (got := self.read(direction, a))[0]:
                data, fds = got
                n = None if self.cuts else self.cut(direction, data)
                if n is None:
                    self.write(b, data, fds)
                    continue
                self.cuts += 1
                b.sendall(data[:n])
                break
        for s in (a, b):
            with contextlib.suppress(OSError):
                s.shutdown(socket.SHUT_RDWR)

    def close(self):
        with contextlib.suppress(OSError):
            self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        self.thread.join(LIMIT)


class Holder(Proxy):
    """The first that the supervisor says with the word in it is held back until it is let go: alone, or in one piece
    with what it says next, up to the line that another word is in."""

    def __init__(self, target, word, until):
        self.word, self.until, self.seen = word, until, False
        self.held, self.go = threading.Semaphore(0), threading.Semaphore(0)
        super().__init__(target, lambda direction, data: None)

    def read(self, direction, a):
        data, fds = super().read(direction, a)
        if direction == "down" and self.word in data and not self.seen:
            self.seen = True
            self.held.release()
            assert self.go.acquire(timeout=LIMIT), "nobody let it go"
            while self.until and b"\n" not in data.partition(self.until)[2]:
                more = a.recv(65536)
                assert more, f"{self.until} was not said"
                data += more
        return data, fds

    def await_held(self):
        assert self.held.acquire(timeout=LIMIT), f"{self.word} was not said"

    def let_go(self):
        self.go.release()


def cutting(path, cut):
    return through(Proxy(path, cut))


def holding(path, word, until=None):
    return through(Holder(path, word, until))


@contextlib.contextmanager
def through(p):
    try:
        yield p
    finally:
        p.close()
        os.unlink(p.path)


@contextlib.contextmanager
def overheard(path, word):
    """The path of a socket that leads to this one, and a function that waits until the supervisor has said the word once more."""
    said = threading.Semaphore(0)

    def heard():
        assert said.acquire(timeout=LIMIT), f"{word} was not said"
    with cutting(path, lambda direction, data: said.release() if direction == "down" and word in data else None) as p:
        yield p.path, heard
