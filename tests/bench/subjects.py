# SPDX-License-Identifier: Apache-2.0
"""What is measured: tractor itself, the peers that do the same work, and the bare floor below all of them.

Each subject starts bench-actor processes, whose first act in main() is a datagram with their name, pid and the time.
Times are CLOCK_MONOTONIC nanoseconds, told by the actor itself: how soon this driver is scheduled to read them does not
count."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TRACTOR_TEST_LIMIT", "120")
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import tractor as harness  # noqa: E402

LIMIT = harness.LIMIT


def bench_program(name):
    return os.path.join(harness.BUILD, "tests", "bench", name)


ACTOR = bench_program("bench-actor")


class Inbox:
    """Where the actors report. Their queue is short (ten datagrams), so it is read while others still start."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "inbox")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.sock.bind(self.path)
        self.sock.settimeout(LIMIT)

    def receive(self, n=1):
        """n reports as {name: (pid, ns)}; a name that reports twice is told by its later report."""
        told = {}
        for _ in range(n):
            name, pid, ns = self.sock.recv(512).decode().rsplit(" ", 2)
            told[name] = (int(pid), int(ns))
        return told

    def close(self):
        self.sock.close()


def wait_ended(pids, limit=LIMIT):
    """The time at which the last of these processes had ended."""
    poll, fds, last = select.poll(), [], time.monotonic_ns()
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fds.append(os.pidfd_open(pid))
            poll.register(fds[-1], select.POLLIN)
    left, end = set(fds), time.monotonic() + limit
    while left:
        if time.monotonic() > end:
            raise AssertionError(f"{len(left)} processes did not end")
        for fd, _ in poll.poll(1000):
            poll.unregister(fd)
            left.discard(fd)
            last = time.monotonic_ns()
    for fd in fds:
        os.close(fd)
    return last


def children_of(pid):
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/children") as f:
            found += [int(p) for p in f.read().split()]
    return found


def children_called(pid, name):
    found = []
    for child_pid in children_of(pid):
        with open(f"/proc/{child_pid}/comm") as f:
            if f.read().strip() == name:
                found.append(child_pid)
    return found


def memory_kib(pids):
    """(PSS, private) of these processes together."""
    pss = private = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as f:
            sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", f.read(), re.M))
        pss += int(sizes["Pss"])
        private += int(sizes["Private_Clean"]) + int(sizes["Private_Dirty"])
    return pss, private


# --- the floor ---------------------------------------------------------------------------------------------------


def own_cgroup():
    """A cgroup v2 directory of this run's, or None where there is no such hierarchy to write to."""
    mounts = [line.split() for line in open("/proc/self/mounts")]
    top = next((m[1] for m in mounts if m[2] == "cgroup2"), None)
    if not top:
        return None
    own = next(line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::"))
    # In a systemd's namespace our own cgroup is a unit's, which may hold processes and no children.
    path = os.path.join(top if os.environ.get("TRACTOR_TEST_SYSTEMD") else top + own.rstrip("/"),
                        f"bench-{os.getpid()}")
    os.mkdir(path)
    return path


def floor(program, *args):
    """Milliseconds, one a sample."""
    out = subprocess.run([bench_program(program), *map(str, args)], check=True, timeout=LIMIT, text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    return [int(line) / 1e6 for line in out.stdout.split()]


# --- those that supervise ----------------------------------------------------------------------------------------


def child(name, **keys):
    return {"name": name, "exec": [ACTOR, name], "stdout": "inherit", "stderr": "inherit", **keys}


def tree(n, name="t", **keys):
    return {"tractor": 1, "name": name, "intensity": {"max_restarts": 100, "within_ms": 10000},
            "children": [child(f"a{i}", **keys) for i in range(n)]}


class TractorRun:
    """`tractorctl run`: keeper, supervisor and tree from one command."""

    def __init__(self, backend, n, inbox):
        self.folder = tempfile.mkdtemp(prefix="tractor-bench-")
        self.sock = os.path.join(self.folder, "control.sock")
        self.env = dict(os.environ, BENCH_SOCKET=inbox.path, STATE_DIRECTORY=self.folder,
                        RUNTIME_DIRECTORY=os.path.join(self.folder, "run"))
        path = os.path.join(self.folder, "tree.json")
        with open(path, "w") as f:
            json.dump(tree(n), f)
        self.command = [harness.program("tractorctl"), "run", path, "--socket", self.sock, "--backend", backend]

    def start(self):
        self.log = open(os.path.join(self.folder, "log"), "w+")
        begin = time.monotonic_ns()
        self.process = subprocess.Popen(self.command, env=self.env, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        return begin

    def teardown(self, pids):
        """Until the reply: every process reaped, every cgroup and unit gone."""
        connection = harness.Connection(self.sock)
        begin = time.monotonic_ns()
        connection.call("tree.unload", path="/t")
        took = time.monotonic_ns() - begin
        connection.close()
        self.process.wait(LIMIT)
        return took

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(LIMIT)
        self.log.close()
        shutil.rmtree(self.folder)


class Peer:
    """s6-svscan or runsvdir over a folder of services whose `run` is bench-actor itself."""

    def __init__(self, n, inbox):
        self.folder = tempfile.mkdtemp(prefix="tractor-bench-")
        self.services = os.path.join(self.folder, "services")
        self.env = dict(os.environ, BENCH_SOCKET=inbox.path)
        first = None
        for i in range(n):
            service = os.path.join(self.services, f"a{i}")
            os.makedirs(service)
            run = os.path.join(service, "run")
            if first:
                os.link(first, run)
            else:
                first = shutil.copy(ACTOR, run)
            self.prepare(service)
        # runsvdir waits for a second when the folder changed in this one.
        os.utime(self.services, (0, 0))

    def prepare(self, service):
        pass

    def start(self):
        begin = time.monotonic_ns()
        self.process = subprocess.Popen([*self.command, self.services], env=self.env, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return begin

    def supervisors(self):
        return [self.process.pid, *children_of(self.process.pid)]

    def teardown(self, pids):
        """Until the last service has ended; its supervisors may still be at work."""
        supervisors = self.supervisors()
        begin = time.monotonic_ns()
        self.process.send_signal(self.stop_signal)
        took = wait_ended(pids) - begin
        wait_ended(supervisors[1:])
        self.process.wait(LIMIT)
        return took

    def close(self):
        if self.process.poll() is None:
            self.teardown([])
        shutil.rmtree(self.folder)


class S6(Peer):
    name, command, stop_signal = "s6", ["s6-svscan"], signal.SIGTERM

    def prepare(self, service):
        self.env["BENCH_READY_FD"] = "3"
        with open(os.path.join(service, "notification-fd"), "w") as f:
            f.write("3\n")


class Runit(Peer):
    name, command, stop_signal = "runit", ["runsvdir", "-P"], signal.SIGHUP


PEERS = [peer for peer in (S6, Runit) if shutil.which(peer.command[0])]


def embedded(backend, inbox):
    """A tractord to ask by hand, quiet as in use: the tests' own log level would be measured otherwise."""
    return harness.tractor(backend, env={"BENCH_SOCKET": inbox.path}, args=("--log-level=warning",))
