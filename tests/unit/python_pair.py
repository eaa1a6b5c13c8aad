# SPDX-License-Identifier: Apache-2.0
"""For tests of the Python client's core: a client and a server in one process, and a clock that moves when told."""
from tractor.core import Machine
from tractor.dialog import Served


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def fails(kind, function, *args, **kwargs):
    try:
        function(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}: {args}")


class Pair:
    """A client and a server, joined by two streams that deliver as many bytes at a time as `cut` says."""

    def __init__(self, cut=lambda n: n, hello=(True, True), **options):
        self.clock = Clock()
        self.cut = cut
        names = ({"name": "client", "path": "/c"}, {"name": "server", "path": "/s"})
        self.client = Machine(connector=True, hello=names[0] if hello[0] else None, peer="/s", clock=self.clock, **options)
        self.server = Machine(connector=False, hello=names[1] if hello[1] else None, peer="/c", clock=self.clock)
        self.lines = {id(self.client): [], id(self.server): []}

    def step(self, source, target):
        chunk = source.output.get(1)
        if chunk is None:
            return None
        n = max(1, min(self.cut(len(chunk.data)), len(chunk.data)))
        data = chunk.data[:n]
        fds = source.output.sent(n)
        self.lines[id(source)].append(data)
        return target.receive(data, fds)

    def run(self):
        """Delivers all there is; the events of either side."""
        found = self.client.events(), self.server.events()
        while self.client.output or self.server.output:
            found[1].extend(self.step(self.client, self.server) or [])
            found[0].extend(self.step(self.server, self.client) or [])
        return found

    def said(self, machine):
        return b"".join(self.lines[id(machine)]).decode()

    def opened(self, **options):
        call = self.client.open("d", {}, **options)
        served = [e for e in self.run()[1] if isinstance(e, Served)][-1]
        served.start(1)
        self.run()
        assert call.started and call.value == 1
        return call, served
