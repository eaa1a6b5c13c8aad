#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs on stdin and stdout whose adapter never came to be, since the spawner was killed over it: held by a fifo before it becomes the
program, one is cloned; what is asked for next is not, with the spawner stopped meanwhile. Or it came, and was no adapter."""

import contextlib
import ctypes
import os
import select
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import DAEMONS, LIMIT, expect_error, gone, kill, libexec, main, read_text, sleeper, tractor  # noqa: E402

SPAWNER_FD, SYS_PIDFD_GETFD = 3, 438
DIED = "tractor-spawner, which was to clone it, has died"
REASON = f"its adapter, tractor-stdio: {DIED}"


def stop(pid):
    """One that sleeps in a call may still take what comes there before it has stopped."""
    kill(pid, signal.SIGSTOP)
    while read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()[0] != "T":
        pass


def await_request(spawner):
    """What the spawner, which is stopped, is asked for waits in its socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = os.pidfd_open(spawner)
    fd = libc.syscall(SYS_PIDFD_GETFD, pidfd, SPAWNER_FD, 0)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    assert select.select([fd], [], [], LIMIT)[0], "nobody asks for an adapter"
    os.close(fd)
    os.close(pidfd)


class Unborn:
    """A program that runs and whose adapter is asked for; it ends well at our word."""

    def __init__(self, t, script):
        self.t = t
        self.err, self.word = os.path.join(t.dir, "err"), os.path.join(t.dir, "word")
        os.mkfifo(self.err)
        os.mkfifo(self.word)
        t.load("other", children=[sleeper("b")])
        self.events = t.events()
        self.load = t.connect()
        self.ident = self.load.request("tree.load", {"tree": {
            "tractor": 1, "name": "t", "intensity": {"max_restarts": 0, "within_ms": 1000}, "children": [{
                "name": "a", "exec": ["sh", "-c", script, self.word], "channel": "stdio", "stderr": f"file:{self.err}"}]}})
        self.events.state("/t/a", "starting")
        # The spawner takes one after the other: with this one there, it is done with that one, which waits for a reader.
        t.call("actor.spawn", parent="/other", **sleeper("c"))
        self.spawner = t.spawner()
        stop(self.spawner)
        self.reader = os.open(self.err, os.O_RDONLY)
        self.pid = self.events.wait(lambda e: e["event"] == "spawned" and e["path"] == "/t/a")["pid"]
        await_request(self.spawner)
        t.call("supervisor.ping")  # by now it has closed its own ends of the pipes

    def go(self):
        """Waits until it listens."""
        os.close(os.open(self.word, os.O_WRONLY))
        assert gone(self.pid)

    def close(self):
        os.close(self.reader)
        self.load.close()

    def failed(self, code):
        cause = expect_error(-32014, self.load.answer, self.ident).data["causes"][0]
        assert cause["code"] == code, cause
        self.t.load("more", children=[sleeper("d")])
        return cause


@contextlib.contextmanager
def unborn(backend, script, env=None):
    with tractor(backend, env=env) as t:
        u = Unborn(t, script)
        yield u
        u.close()


ENDS = 'cat >/dev/null; cat "$0"'


def ended_well(cause, reason):
    """Which it was not to."""
    assert (cause["data"]["exit"]["cause"], cause["data"]["exit"]["code"]) == ("unknown", 0), cause
    assert cause["message"] == f"/t/a: exited with code 0 (cause unknown): {reason}", cause


def lives(backend):
    """It reads the end of its input and does something else yet: it is ended, as one that could not be started."""
    with unborn(backend, ENDS) as u:
        kill(u.spawner)
        cause = u.failed(-32012)
        assert gone(u.pid)
        assert cause["data"]["step"] == "clone" and cause["message"] == f"/t/a: can't start: clone: {REASON}", cause


def over(backend):
    """It has ended by that, and well, when the supervisor comes to hear what happened."""
    with unborn(backend, ENDS) as u:
        stop(u.t.status["pid"])
        kill(u.spawner)
        u.t.await_log("spawn for key")
        u.go()
        kill(u.t.status["pid"], signal.SIGCONT)
        ended_well(u.failed(-32003), REASON)


def ended_before(backend):
    """The other way round: it has ended, by itself, and the supervisor knows before the spawner is killed."""
    with unborn(backend, 'cat "$0"') as u:
        u.go()
        kill(u.t.pid("/other/b"))  # the keeper tells in the order of the ends
        u.events.wait(lambda e: e["event"] == "exited" and e["path"] == "/other/b")
        kill(u.spawner)
        ended_well(u.failed(-32003), REASON)


def not_found(backend):
    """As `over`, but it is cloned, and can't become the adapter."""
    with libexec(*DAEMONS) as folder, unborn(backend, ENDS, {"TRACTOR_LIBEXECDIR": folder}) as u:
        stop(u.t.status["pid"])
        kill(u.spawner, signal.SIGCONT)
        u.go()  # it reads the end of its input when that is no more
        kill(u.t.status["pid"], signal.SIGCONT)
        ended_well(u.failed(-32003), "its adapter, tractor-stdio: No such file or directory")


def another(backend):
    """The reason is told of any actor."""
    with tractor(backend) as t:
        t.load(children=[sleeper("b")])
        spawner, client = t.spawner(), t.connect()
        stop(spawner)
        ident = client.request("actor.spawn", {"parent": "/t", **sleeper("a", restart="temporary")})
        await_request(spawner)
        kill(spawner)
        assert expect_error(-32012, client.answer, ident).message == f"/t/a: can't start: clone: {DIED}"


if __name__ == "__main__":
    main([lives, over, ended_before, not_found, another])
