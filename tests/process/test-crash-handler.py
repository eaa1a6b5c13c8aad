#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The crash handler of libtractor and tractor-crash without a supervisor: what comes over the channel, and that the process
ends by its own signal in bounded time, whatever is wrong with it."""
import ctypes
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BUILD, main  # noqa: E402

RIG = os.path.join(BUILD, "tests/process/crash-rig")
HELPER = os.path.join(BUILD, "src/crash/tractor-crash")
# The handler's own bounds, and a slow machine.
BOUND = 20


class Crashed:
    """Runs the rig with a channel; reads all of that, unless it is `deaf`, or `gone` before it begins."""

    def __init__(self, *actions, helper=HELPER, channel=True, deaf=False, gone=False, **options):
        ours, theirs = socket.socketpair()
        env = dict(os.environ)
        if channel:
            env["TRACTOR_CHANNEL_FD"] = str(theirs.fileno())
        start = time.monotonic()
        p = subprocess.Popen([RIG, helper, *actions], env=env, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE,
                             **options)
        theirs.close()
        data = b""
        if gone:
            ours.shutdown(socket.SHUT_RDWR)
        while not deaf and (more := ours.recv(65536)):
            data += more
        self.dumped = os.waitid(os.P_PID, p.pid, os.WEXITED | os.WNOWAIT).si_code == os.CLD_DUMPED
        self.stderr = p.communicate(timeout=BOUND)[1].decode()
        self.took = time.monotonic() - start
        self.code = p.returncode
        ours.close()
        self.lines = data.split(b"\n")
        assert self.took < BOUND, self.took

    def report(self):
        assert self.lines[-1] == b"" and self.lines[-3] == b"", self.lines
        assert len(self.lines[-2]) < 100 * 1024, len(self.lines[-2])
        message = json.loads(self.lines[-2])
        assert message["method"] == "$/crash" and "id" not in message, message
        return message["params"]


def places(frames):
    """#3 name (file.c:12), or #3 name+0x1 (module+0x2) → name"""
    assert [f.split(" ")[0] for f in frames] == [f"#{i}" for i in range(len(frames))], frames
    return [f.split(" ")[1].split("+")[0] for f in frames]


def null(_):
    c = Crashed("null")
    report = c.report()
    assert c.code == -signal.SIGSEGV and c.stderr == "", (c.code, c.stderr)
    assert c.lines[:-2] == [b""], c.lines
    assert report["signal"] == "SIGSEGV" and report["address"] == "0x0" and report["task"] == "main", report
    assert report["message"] == "SIGSEGV at 0x0: nothing is mapped there, in task main", report
    assert report["backtrace"][0].startswith("#0 crash_here (crash-rig.c:"), report
    assert "main" in places(report["backtrace"]), report
    assert report["threads"] == [] and report["threads_left_out"] == 0, report


def call_null(_):
    c = Crashed("call-null")
    report = c.report()
    assert c.code == -signal.SIGSEGV, c.code
    assert report["backtrace"][0] == "#0 0x0" and len(report["backtrace"]) >= 2, report
    assert "(crash-rig.c:" in report["backtrace"][1], report


def other_threads(_):
    c = Crashed("threads=3", "abort")
    report = c.report()
    assert c.code == -signal.SIGABRT and report["signal"] == "SIGABRT", (c.code, report)
    assert {"abort", "abort_now"} <= set(places(report["backtrace"])), report
    assert [t["name"] for t in report["threads"][1:]] == ["waiter"] * 3, report
    assert report["threads"][0]["name"] == "crash-rig", report
    assert all("wait_for_ever" in places(t["backtrace"]) for t in report["threads"][1:]), report


def many_threads_deep(_):
    """The bound of a report: what there is no room for is counted."""
    c = Crashed("threads=200", "deep=200")
    report = c.report()
    assert c.code == -signal.SIGSEGV, c.code
    assert len(report["backtrace"]) == 64 and report["backtrace"][63].startswith("#63 deep"), report["backtrace"]
    assert len(report["threads"]) <= 63, len(report["threads"])
    assert len(report["threads"]) + report["threads_left_out"] == 200, report["threads_left_out"]


def overflows(_):
    c = Crashed("overflow")
    assert c.code == -signal.SIGSEGV, c.code
    assert c.report()["message"] == "stack of task digger (256 KiB) overflowed", c.report()
    assert set(places(c.report()["backtrace"])) == {"sink"}, c.report()
    c = Crashed("recurse")
    assert c.code == -signal.SIGSEGV, c.code
    assert c.report()["message"] == "stack of task main overflowed", c.report()


def heap_locked(_):
    c = Crashed("malloc")
    assert c.code == -signal.SIGABRT, c.code
    assert c.report()["signal"] == "SIGABRT", c.report()


def within_the_handler(_):
    """The first signal is what it dies of, and what it reports."""
    c = Crashed("double")
    assert c.code == -signal.SIGFPE, c.code
    assert c.report()["message"] == "SIGFPE" and c.report()["backtrace"] == [], c.report()


def two_at_once(_):
    for _ in range(10):
        c = Crashed("two")
        assert c.code == -signal.SIGSEGV, c.code
        assert "crash_together" in places(c.report()["backtrace"]), c.report()
        assert len([line for line in c.lines if line]) == 1, c.lines


def every_signal(_):
    for signo in (signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGSYS,
                  signal.SIGTRAP):
        c = Crashed(f"raise={signo.value}")
        assert c.code == -signo, (signo, c.code)
        assert c.report()["signal"] == signo.name and "address" not in c.report(), c.report()


def line_in_progress(_):
    """The newline before the report ends what the process was saying."""
    c = Crashed("say={\"first\":1}", "half", "null")
    assert c.lines[0] == b'{"first":1}' and c.lines[1] == b'{"jsonrpc":"2.0","method":"$/sta', c.lines
    assert json.loads(c.lines[2])["method"] == "$/crash" and c.lines[3:] == [b""], c.lines


def nobody_reads(_):
    """The report goes to stderr where the channel does not take it."""
    for c in (Crashed("fill", "null", deaf=True), Crashed("close", "null"), Crashed("null", gone=True)):
        assert c.code == -signal.SIGSEGV, c.code
        assert "has crashed: SIGSEGV at 0x0" in c.stderr and "#0 crash_here (crash-rig.c:" in c.stderr, c.stderr


def without_channel(_):
    c = Crashed("threads=1", "null", channel=False)
    assert c.code == -signal.SIGSEGV, c.code
    assert "    #0 crash_here (crash-rig.c:" in c.stderr and "(waiter):\n" in c.stderr, c.stderr
    assert c.lines == [b""], c.lines


def without_helper(_):
    """No file, or no descriptors for it: what the process knows by itself."""
    for options in ({"helper": "/nonexistent"}, {"helper": ""}, {"helper": "/bin/false"}, {"helper": "/bin/true"}):
        c = Crashed("null", **options)
        assert c.code == -signal.SIGSEGV, c.code
        if options["helper"] != "/bin/true":  # which says that it has reported
            assert c.report()["message"] == "SIGSEGV at 0x0: nothing is mapped there, in task main", c.report()
            assert c.report()["backtrace"] == [] and c.report()["task"] == "main", c.report()
    c = Crashed("limit-files", "null", channel=False)
    assert c.code == -signal.SIGSEGV and "SIGSEGV at 0x0" in c.stderr, (c.code, c.stderr)


def helper_hangs(_):
    c = Crashed("null", helper=os.path.join(os.path.dirname(os.path.abspath(__file__)), "crash-hangs"))
    assert c.code == -signal.SIGSEGV and c.took >= 5, (c.code, c.took)
    assert c.report()["signal"] == "SIGSEGV", c.report()


def forked(_):
    """The channel is not the child's to report on."""
    c = Crashed("fork")
    assert c.code == signal.SIGSEGV, c.code
    assert c.lines == [b""] and "#0 crash_here" in c.stderr, (c.lines, c.stderr)


def taken_out(_):
    c = Crashed("remove", "null")
    assert c.code == -signal.SIGSEGV and c.lines == [b""] and c.stderr == "", (c.code, c.lines, c.stderr)


def core_pc(folder):
    """Of the first thread in the core file, within its page: where that is differs from run to run."""
    (name,) = os.listdir(folder)
    with open(os.path.join(folder, name), "rb") as f:
        data = f.read(1 << 20)
    os.unlink(os.path.join(folder, name))
    start, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    kind, _, at = next(h for h in (struct.unpack_from("<IIQ", data, start + 56 * i) for i in range(count)) if h[0] == 4)
    assert kind == 4 and struct.unpack_from("<I", data, at + 8)[0] == 1, "no PT_NOTE that begins with NT_PRSTATUS"
    return struct.unpack_from("<Q", data, at + 20 + 112 + 16 * 8)[0] & 0xfff


def core_file(_):
    """As without a handler, and of the place where it crashed."""
    def allow():
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    with tempfile.TemporaryDirectory() as d:
        plain = Crashed("remove", "deep=3", cwd=d, preexec_fn=allow)
        there = os.listdir(d) and os.uname().machine == "x86_64"
        pc = core_pc(d) if there else None
        c = Crashed("deep=3", cwd=d, preexec_fn=allow)
        assert c.dumped == plain.dumped and c.code == plain.code, (c.dumped, plain.dumped)
        assert not there or core_pc(d) == pc, hex(pc)
        assert c.report()["backtrace"], c.report()


def as_another_user(_):
    """Without privileges, and without a way to get any."""
    if os.getuid() != 0:
        return

    def become():
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)

    c = Crashed("threads=1", "null", preexec_fn=become)
    assert c.code == -signal.SIGSEGV and c.report()["backtrace"][0].startswith("#0 crash_here"), (c.code, c.report())


def own_handlers_stay(_):
    """What a program ignores or handles is its own affair."""
    c = Crashed("raise=8", "exit=7", preexec_fn=lambda: signal.signal(signal.SIGFPE, signal.SIG_IGN))
    assert c.code == 7 and c.lines == [b""], (c.code, c.lines)


if __name__ == "__main__":
    main([null, call_null, other_threads, many_threads_deep, overflows, heap_locked, within_the_handler, two_at_once,
          every_signal, line_in_progress, nobody_reads, without_channel, without_helper, helper_hangs, forked, taken_out,
          core_file, as_another_user, own_handlers_stay])
