#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples, each again with one of its processes struck: an actor, the supervisor, the spawner, the keeper or the root
killed, the root interrupted, an actor stopped and then the root interrupted. Each ends by itself, leaves nothing, and where it
fails, its last words name who was lost. In the ladder that happens as soon as the first actor runs, by night at many moments
between the start and the end (at_any_moment)."""
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
# … before the first word was heard from it.
EARLY = "SpawnFailed: a private supervisor was started and ended at once"
# A program on stdin and stdout whose adapter was on its way has nobody to talk to: it is ended for that, or has ended of it.
SPAWNER = r"SpawnFailed: /|ActorDied: /\S* (killed by SIGKILL \(spawn\)|ended with code 0 \(unknown\))"
INTERRUPT = "Interrupted: interrupted by SIGINT"
# Said by itself where the machine is slow: see stall_usec.
STALL = re.compile(r"^tractor: task .* without a checkpoint.*\n(.*\[0x[0-9a-f]+\]\n)*", re.MULTILINE)
# A hang is what never ends: this is no measure of speed, and a dozen trees beside each other, on a machine that has more to do, take time.
BOUND = 60
MOMENTS = 12  # between the start and the end


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


def await_ends(fds, deadline):
    """Those of the processes that live still."""
    while fds:
        ended, _, _ = select.select(list(fds), [], [], max(deadline - time.monotonic(), 0))
        if not ended:
            break
        for fd in ended:
            os.close(fd)
            del fds[fd]
    return list(fds.values())


def open_all(pids):
    fds = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fds[os.pidfd_open(pid)] = f"{pid} {comm(pid)}"
    return fds


class Run:
    """One of the examples, from its start on."""

    def __init__(self, name, backend):
        env = {k: v for k, v in os.environ.items() if k != "TRACTOR_SOCKET"} | {"TRACTOR_BACKEND": backend}
        self.name, self.fds, self.struck = name, {}, False
        self.keeper = self.supervisor = self.spawner = self.actor = self.path = self.instance = None
        self.out, self.err = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen([os.path.join(FOLDER, name)], env=env, stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.err)
        self.root = self.process.pid

    def look(self):
        """Who there is."""
        self.keeper = next((c for c in children(self.root) if comm(c) == "tractord"), None)
        for child in children(self.keeper) if self.keeper else []:
            env, name = environ(child), comm(child)
            if name == "tractor-supervisor"[:15]:
                self.supervisor = child
                with contextlib.suppress(OSError), open(f"/proc/{child}/cmdline") as f:
                    self.instance = re.search(r"--instance=(\w+)|$", f.read())[1] or self.instance
            elif "TRACTOR_PATH" in env:
                self.actor, self.path = child, env["TRACTOR_PATH"]
            elif name == "tractor-spawner" and not self.spawner:  # those behind it are actors to be
                self.spawner = child

    def look_for_actor(self):
        """Nothing tells of one but looking; it may be over before one has looked."""
        deadline = time.monotonic() + BOUND
        while not self.actor and self.process.poll() is None:
            assert time.monotonic() < deadline, f"{self.name} has no actor"
            self.look()
        return self.actor

    def strike(self, *signals):
        self.fds = open_all(descendants(self.root))
        self.victim = ", ".join(f"{signal.Signals(signo).name} to the {who} {getattr(self, who)} {self.path}" for who, signo in signals)
        for who, signo in signals:
            if pid := getattr(self, who):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signo)
                    self.struck = True

    def end(self):
        """Its status, what it said on stdout and on stderr, and all that in one."""
        deadline = time.monotonic() + BOUND
        try:
            status = self.process.wait(BOUND)
        except subprocess.TimeoutExpired:
            status = None
        left = await_ends(self.fds, deadline)
        # What began only after the look at who there is may be on its way out, too.
        if self.instance:
            left += await_ends(open_all([pid for pid, _ in survivors(self.instance)]), deadline)
        for f in (self.out, self.err):
            f.seek(0)
        out, err = self.out.read(), STALL.sub("", self.err.read())
        said = f"{self.name}, {self.victim}: {status}\n{out}{err}"
        assert status is not None and not left, f"{said}left: {left}"
        return status, out, err, said


def with_first_actor(name, backend):
    for _ in range(100):
        run = Run(name, backend)
        if run.look_for_actor():
            return run
        run.process.wait()
    raise AssertionError(f"no actor of {name} was seen")


def is_as_usual(name, status, err):
    usual, words = USUAL.get(name, (0, ""))
    return status == usual and (words in err if words else err == "")


def check(run, words, failure):
    """Whether it has come to its end as ever; where it has not, that is as it should be."""
    status, out, err, said = run.end()
    if is_as_usual(run.name, status, err):
        return True
    assert run.struck, said
    # What interrupts a root that has not begun, or ends just then, interrupts the program; quick_cluster does it to itself.
    if status == -signal.SIGINT and (words == INTERRUPT or run.name == "quick_cluster"):
        return False
    if run.name == "guest_glib" and words == INTERRUPT:
        assert status == 1 and "tractor: Interrupted system call\n" in out, said
        return False
    assert status == failure, said
    assert not words or re.search(words.replace("{path}", re.escape(run.path or "")), err, re.MULTILINE), said
    return False


def all_of_them(backend, words, failure, *signals):
    """Each struck in turn; then all are waited for together, as most of it is waiting."""
    runs = []
    for name in NAMES:
        runs.append(with_first_actor(name, backend))
        runs[-1].strike(*signals)
    return sum(not check(run, words, failure) for run in runs)


FAULTS = {
    "actor_killed": (ACTOR, 1, ("actor", signal.SIGKILL)),
    # Its successor has nobody left to serve, and only ends what there was.
    "supervisor_killed": (SUPERVISOR, 1, ("supervisor", signal.SIGKILL)),
    "spawner_killed": (SPAWNER, 1, ("spawner", signal.SIGKILL)),
    "keeper_killed": (SUPERVISOR, 1, ("keeper", signal.SIGKILL)),
    "root_killed": (None, -signal.SIGKILL, ("root", signal.SIGKILL)),
    "root_interrupted": (INTERRUPT, 130, ("root", signal.SIGINT)),
    # The root that waits for it is interrupted: who does not go is made to.
    "actor_stopped": (INTERRUPT, 130, ("actor", signal.SIGSTOP), ("root", signal.SIGINT)),
}


def struck(fault):
    def test(backend):
        n_failed = all_of_them(backend, *FAULTS[fault])
        # Another spawner takes over from one that has nothing to do.
        assert n_failed > 0 or fault == "spawner_killed", "nobody misses it"

    test.__name__ = fault
    return test


def duration(name, backend):
    start = time.monotonic()
    run = Run(name, backend)
    run.strike()
    assert check(run, "", 0), f"{name} does not even run undisturbed"
    return time.monotonic() - start


def at_any_moment(backend):
    """Nothing is waited for but time, and whoever is there then is struck."""
    durations = {name: duration(name, backend) for name in NAMES}
    for fault, (words, failure, *signals) in FAULTS.items():
        n_failed = 0
        for moment in range(MOMENTS):
            runs = []
            for name in NAMES:
                runs.append(Run(name, backend))
                time.sleep(durations[name] * moment / MOMENTS)
                runs[-1].look()
                runs[-1].strike(*signals)
            early = f"{words}|{EARLY}" if words == SUPERVISOR else words
            n_failed += sum(not check(run, early, failure) for run in runs)
        print(f"   {fault}: {n_failed} of {MOMENTS * len(NAMES)} felt it", file=sys.stderr, flush=True)
        assert n_failed > 0, f"{fault}: nobody misses it"


if __name__ == "__main__":
    main([at_any_moment] if "at_any_moment" in sys.argv else [struck(fault) for fault in FAULTS])
