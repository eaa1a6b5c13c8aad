# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine, made for one test: small disks, no journal, low limits; and what must hold meanwhile."""

import contextlib
import ctypes
import os
import resource
import subprocess
import tempfile
import time

from tractor import program

NOFILE, NPROC = resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC
JOURNAL = "/run/systemd/journal"


def mount(source, target, options=""):
    """In a mount namespace of our own, entered at the first call; the machine sees nothing of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not getattr(mount, "entered", False):
        assert libc.unshare(0x00020000) == 0, os.strerror(ctypes.get_errno())
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        mount.entered = True
    subprocess.run(["mount", "-t", "tmpfs", "-o", options or "size=1m", source, target], check=True)


def without_journal():
    if os.path.exists(JOURNAL):
        mount("nothing", "/run/systemd")


@contextlib.contextmanager
def small_disk(options):
    with tempfile.TemporaryDirectory() as d:
        mount("small", d, options)
        try:
            yield d
        finally:
            subprocess.run(["umount", "--lazy", d], check=True)


@contextlib.contextmanager
def silent_user_database():
    """Whoever asks it for a name waits until this is over."""
    with small_disk("size=64k") as d:
        os.mkfifo(os.path.join(d, "passwd"))
        subprocess.run(["mount", "--bind", os.path.join(d, "passwd"), "/etc/passwd"], check=True)
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", "/etc/passwd"], check=True)


def fill(path):
    """The last block and, by empty files, the last inode."""
    files = []
    with contextlib.suppress(OSError):
        while True:
            name = os.path.join(path, f"fill{len(files)}")
            fd = os.open(name, os.O_WRONLY | os.O_CREAT)
            files.append(name)
            try:
                while os.write(fd, b"x" * 4096):
                    pass
            except OSError:
                pass
            os.close(fd)
    return files


def preloaded(module):
    """The environment of a program that is to have one of helpers/ in it. An instrumented one wants to be the first that a call
    passes, which matters to none that is made here."""
    options = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))
    return {"LD_PRELOAD": program(module), "ASAN_OPTIONS": options}


def cpu_ms(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK")


def idle(pids, over=1.0):
    """Nobody spins: measured over a second, in which nothing is due."""
    before = [cpu_ms(pid) for pid in pids]
    time.sleep(over)
    spent = [cpu_ms(pid) - b for pid, b in zip(pids, before)]
    assert all(ms <= 150 * over for ms in spent), spent


def prompt(t, rounds=50, limit=1.0):
    """The loop is not stalled: the slowest answer of many."""
    slowest = 0.0
    for _ in range(rounds):
        start = time.monotonic()
        assert t.call("supervisor.ping") == {}
        slowest = max(slowest, time.monotonic() - start)
    assert slowest < limit, f"a ping took {slowest:.3f} s"


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def limited(pid, what, soft):
    """Sets the soft limit of a running process and tells the old ones."""
    return resource.prlimit(pid, what, (soft, resource.prlimit(pid, what)[1]))


def spawn(t, name, **keys):
    return t.call("actor.spawn", parent="/t", name=name, **{"exec": ["sleep", "1000"], "restart": "temporary", **keys})
