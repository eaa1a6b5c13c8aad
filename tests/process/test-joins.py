#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What comes in one piece: an answer and what happened since it was given. Where lines end, and not where reads do, is what decides."""

import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))
from proxy import holding  # noqa: E402
from tractor import LIMIT, main, program, tractor  # noqa: E402

PACKAGE = os.path.join(HERE, "..", "..", "contrib", "python")
ENV = {"PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1"}


class Asker(subprocess.Popen):
    """A client whose supervisor is behind the proxy."""

    def __init__(self, proxy, *command):
        super().__init__(command, env=os.environ | ENV | {"TRACTOR_SOCKET": proxy.path}, text=True,
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def go_on(self):
        self.stdin.write("\n")
        self.stdin.flush()

    def said(self):
        out, _ = self.communicate(timeout=LIMIT)
        assert self.returncode == 0, out
        return out


# --- libtractor: an answer, and ends ---

def gives_up(backend):
    """The answer that it runs comes when it has been restarted as often as it may be."""
    for until in (None, b'/n1","id"'):  # the nursery's own end
        with tractor(backend) as t, holding(t.path, b'"unit"', until) as proxy:
            events = t.events()
            asker = Asker(proxy, program("caller"), "gives-up")
            proxy.await_held()
            actor = events.wait(lambda e: e["event"] == "state" and e["to"] == "failed" and e["path"].endswith("/a"))["path"]
            events.state(os.path.dirname(actor), "failed")
            proxy.let_go()
            assert "RestartLimit(ActorDied)" in (said := asker.said()), said


def same_name(backend):
    """A start that failed, and another of that name that ran and ended: its end is not taken for the first one's."""
    for until in (None, b"$/child_exited"):
        with tractor(backend) as t, holding(t.path, b'"SpawnFailed"', until) as proxy:
            events = t.events()
            asker = Asker(proxy, program("caller"), "twice")
            proxy.await_held()
            asker.go_on()
            events.wait(lambda e: e["event"] == "state" and e["to"] == "failed" and e["path"].endswith("/a") and e["exit"]["cause"] == "exit")
            proxy.let_go()
            said = asker.said()
            assert "SpawnFailed" in said and "ActorDied" in said, said


if __name__ == "__main__":
    main([gives_up, same_name])
