#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples, each again with one of its processes struck as soon as its first actor runs: an actor, the supervisor, the
keeper or the root killed, the root interrupted, an actor stopped and then the root interrupted. Each ends in time and by
itself, leaves nothing, and where it fails, its last words name who was lost."""
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BUILD, main, survivors  # noqa: E402

FOLDER = os.path.join(BUILD, "docs/examples")
NAMES = sorted(n for n in os.listdir(FOLDER) if os.access(os.path.join(FOLDER, n), os.X_OK) and os.path.isfile(os.path.join(FOLDER, n)))
# What they end with, and say on stderr, when they come to their end as ever.
USUAL = {"we_are_processes": (1, "ProcessesAreReal: failing "), "remote_error": (1, "DivisionByZero: 1 "),
         "quick_cluster": (130, "Interrupted: interrupted by SIGINT")}
# {path}: the actor's.
ACTOR = r"ActorDied: ({path} killed by SIGKILL \(signal\)|{path} ended with code \d+)|SpawnFailed: {path}"
SUPERVISOR = r"ConnectionLost: (the supervisor has gone|the connection to /\S* was lost)|Cancelled: cancelled: the supervisor has gone"
INTERRUPT = "Interrupted: interrupted by SIGINT"


def is_instrumented():
    return subprocess.run(["grep", "-q", "__asan_init", os.path.join(BUILD, "src/libtractor/libtractor.so")], check=False).returncode == 0


BOUND = 60 if is_instrumented() or os.environ.get("TRACTOR_TEST_VM") else 15


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(child) for child in f.read().split()]
    return []


def descendants(pid):
    return [d for child in children(pid) for d in (child, *descendants(child))]


def comm(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/comm") as f:
        return f.read().strip()
    return ""


def environ(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as f:
        return dict(v.split("=", 1) for v in os.fsdecode(f.read()).split("\0") if "=" in v)
    return {}


class Tree:
    """The processes of a root whose first actor runs. Nothing tells of that but looking; it may be over before one has looked."""

    def __init__(self, root):
        deadline = time.monotonic() + BOUND
        self.root, self.actor = root.pid, None
        while not self.actor and root.poll() is None:
            assert time.monotonic() < deadline, f"{root.args} has no actor"
            self.look(root.pid)

    def look(self, root):
        self.keeper = next((c for c in children(root) if comm(c) == "tractord"), None)
        for child in children(self.keeper) if self.keeper else []:
            env = environ(child)
            if comm(child) == "tractor-supervisor"[:15]:
                self.supervisor = child
            elif "TRACTOR_PATH" in env:
                self.actor, self.path, self.instance = child, env["TRACTOR_PATH"], env["TRACTOR_INSTANCE"]


def await_ends(fds, deadline):
    """Those of the processes that live still."""
    while fds and time.monotonic() < deadline:
        ended, _, _ = select.select(list(fds), [], [], max(deadline - time.monotonic(), 0))
        for fd in ended:
            os.close(fd)
            del fds[fd]
    return list(fds.values())


class Struck:
    def __init__(self, name, backend, victim, *signals):
        env = {k: v for k, v in os.environ.items() if k != "TRACTOR_SOCKET"} | {"TRACTOR_BACKEND": backend}
        self.name, self.victim = name, victim
        for _ in range(100):
            self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
            self.process = subprocess.Popen([os.path.join(FOLDER, name)], env=env, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)
            self.tree = Tree(self.process)
            if self.tree.actor:
                break
        assert self.tree.actor, f"no actor of {name} was seen"
        self.fds = {}
        for pid in descendants(self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                self.fds[os.pidfd_open(pid)] = f"{pid} {comm(pid)}"
        for who, signo in signals:
            with contextlib.suppress(ProcessLookupError):
                os.kill(getattr(self.tree, who), signo)
        self.deadline = time.monotonic() + BOUND

    def end(self):
        """Its status, what it said on stdout and on stderr, and all that in one."""
        try:
            status = self.process.wait(max(self.deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            status = None
        left = await_ends(self.fds, self.deadline if status is not None else 0)
        for f in (self.out, self.err):
            f.seek(0)
        out, err = self.out.read(), self.err.read()
        said = f"{self.name}, whose {self.victim} was struck ({self.tree.path}): {status}\n{out}{err}"
        left += survivors(self.tree.instance)
        assert status is not None and not left, f"{said}left: {left}"
        return status, out, err, said


def is_as_usual(name, status, err):
    usual, words = USUAL.get(name, (0, ""))
    return status == usual and (words in err if words else err == "")


def all_of_them(backend, victim, words, failure, *signals):
    """Each struck in turn; then all are waited for together, as most of it is waiting."""
    runs = [Struck(name, backend, victim, *signals) for name in NAMES]
    n_failed = 0
    for run in runs:
        status, out, err, said = run.end()
        if is_as_usual(run.name, status, err):
            continue
        n_failed += 1
        # What interrupts a root that ends just then interrupts the program; quick_cluster does it to itself.
        if status == -signal.SIGINT and (words == INTERRUPT or run.name == "quick_cluster"):
            continue
        if run.name == "guest_glib" and words == INTERRUPT:
            assert status == 1 and "tractor: Interrupted system call\n" in out, said
            continue
        assert status == failure, said
        assert not words or re.search(words.replace("{path}", re.escape(run.tree.path)), err, re.MULTILINE), said
    assert n_failed > 0, f"nobody misses the {victim}"


def actor_killed(backend):
    all_of_them(backend, "actor", ACTOR, 1, ("actor", signal.SIGKILL))


def supervisor_killed(backend):
    """Its successor has nobody left to serve, and only ends what there was."""
    all_of_them(backend, "supervisor", SUPERVISOR, 1, ("supervisor", signal.SIGKILL))


def keeper_killed(backend):
    all_of_them(backend, "keeper", SUPERVISOR, 1, ("keeper", signal.SIGKILL))


def root_killed(backend):
    all_of_them(backend, "root", None, -signal.SIGKILL, ("root", signal.SIGKILL))


def root_interrupted(backend):
    all_of_them(backend, "root", INTERRUPT, 130, ("root", signal.SIGINT))


def actor_stopped(backend):
    """The root that waits for it is interrupted: who does not go is made to."""
    all_of_them(backend, "actor", INTERRUPT, 130, ("actor", signal.SIGSTOP), ("root", signal.SIGINT))


if __name__ == "__main__":
    main([actor_killed, supervisor_killed, keeper_killed, root_killed, root_interrupted, actor_stopped])
