#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The examples, as somebody runs them who has just built them: without arguments, input or a daemon; and beside a supervisor
that runs already. Each ends in time with the status it is said to end with, has printed what it is about, and leaves nothing."""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import ctl  # noqa: E402
from tractor import BUILD, main, tractor  # noqa: E402

FOLDER = os.path.join(BUILD, "docs/examples")
SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
NOBODY = 65534

# name: status, what the root prints, what actors print where that is seen, what is on stderr. {base}: where the root's nurseries are.
EXAMPLES = {
    "single_func": (0, [r"fibonacci\(25\) is 75025"], [r"burner \(pid \d+\) burns a processor"], []),
    "we_are_processes": (1, [], [r"{base}/n1/worker-3 is process \d+, and \d+ is above it", "worker-0 is going"],
                         [r"we_are_processes: ProcessesAreReal: failing \(pid \d+\) had enough, in {base}/n1/failing.*"]),
    "rpc_bidir_streaming": (0, ['started with "ready to play"', 'a call answers "beside the stream"', "it counted 10 pings"], [], []),
    "concurrent_primes": (0, ["1099726899285419 is prime: false", "1570341764013157 is prime: true", "2 is prime: true", "1 is prime: false"],
                          [], []),
    "quick_cluster": (130, [r"{base}/n1/core-0 is process \d+", "Ctrl-C"], [], ["quick_cluster: Interrupted: interrupted by SIGINT"]),
    "nested_tree": (0, ["8 leaves"], ["{base}/n1/branch-1/n1/branch-0/n1/branch-1"], []),
    "remote_error": (1, ["a DivisionByZero in {base}/n1/manager/n1/divider, passed on by {base}/n1/manager"], [],
                     ["remote_error: DivisionByZero: 1 can't be divided by 0, in {base}/n1/manager/n1/divider, by way of {base}/n1/manager/n1/divider, {base}/n1/manager"]),
    "service_discovery": (0, ["before: nobody", "waiting for 'greeter'", "now: {base}/n1/polite", '{base}/n1/polite says "good day"',
                              "after: nobody"], [], []),
    "broadcast_fanout": (0, [r"subscriber 0 had [1-9]\d* and lost [1-9]\d*", "21 subscribers had all 2000 items"], [], []),
    "guest_glib": (0, ["glib: tick", r"actor: process \d+", "actor: beat 1", "actor: beat 3", "tractor: done"], [], []),
    "infected_asyncio": (0, ['the actor says "asyncio is here"', r"2000 round trips, \d+ a second", "the actor counted 2000"], [], []),
    "hello_shell": (0, [r"hello world, this is process \d+"], [], []),
}


def built():
    """All of them, but what a library is missing for."""
    there = [name for name in EXAMPLES if os.path.exists(os.path.join(FOLDER, name))]
    spared = set() if os.environ.get("TRACTOR_TEST_STRICT") == "1" else {"guest_glib"}
    assert set(EXAMPLES) - set(there) <= spared, set(EXAMPLES) - set(there)
    return there


def is_instrumented():
    return subprocess.run(["grep", "-q", "__asan_init", os.path.join(BUILD, "src/libtractor/libtractor.so")], check=False).returncode == 0


# What a person waits for; an instrumented build is slower.
BOUND = 30 if is_instrumented() else 10


def carriers(mark):
    """Processes that carry the mark of a run in their environment."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark.encode() in open(f"/proc/{pid}/environ", "rb").read():
                found.append((int(pid), open(f"/proc/{pid}/cmdline").read().replace("\0", " ")))
    return found


def missing(patterns, text, base):
    return [p for p in patterns if not re.search("^" + p.replace("{base}", re.escape(base)) + "$", text, re.MULTILINE)]


class Ended:
    """One run to its end, and what is promised of each."""

    def __init__(self, name, env=None, before=(), socket=None, **options):
        mark = f"TRACTOR_TEST_MARK={uuid.uuid4()}"
        environ = {k: v for k, v in os.environ.items() if k not in ("TRACTOR_SOCKET", "TRACTOR_BACKEND")}
        environ |= dict([mark.split("=")]) | (env or {}) | ({"TRACTOR_SOCKET": socket} if socket else {})
        start = time.monotonic()
        p = subprocess.Popen([*before, os.path.join(FOLDER, name)], env=environ, text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, **{"stdin": subprocess.DEVNULL} | options)
        out, err = p.communicate(timeout=3 * BOUND)
        took = time.monotonic() - start
        self.base = f"/{name}-{p.pid}" if socket else f"/{name}"
        status, of_root, of_actors, of_errors = EXAMPLES[name]
        said = f"{name}: {p.returncode}\n{out}{err}"
        assert p.returncode == status, said
        assert not missing(of_root, out, self.base) and not missing(of_errors, err, self.base), said
        # Under a supervisor of everybody's, actors speak to its log.
        assert socket or not missing(of_actors, out, self.base), said
        assert of_errors or err == "", said
        assert took < BOUND, f"{name} took {took} s"
        assert carriers(mark) == [], carriers(mark)


def all_of_them(**options):
    for name in built():
        Ended(name, **options)


def as_they_are(backend):
    all_of_them(env={"TRACTOR_BACKEND": backend})


def from_elsewhere(backend):
    with tempfile.TemporaryDirectory() as d:
        all_of_them(env={"TRACTOR_BACKEND": backend}, cwd=d)
        assert os.listdir(d) == []


def without_stdin(backend):
    all_of_them(env={"TRACTOR_BACKEND": backend}, before=["sh", "-c", 'exec "$0" <&-'])


def as_anybody(backend):
    """Who is not root and has no session has no cgroups of his own."""
    if backend != "process" or os.geteuid() != 0:
        return
    d = tempfile.mkdtemp(dir="/tmp")
    try:
        os.chmod(d, 0o700)
        os.chown(d, NOBODY, NOBODY)
        all_of_them(env={"XDG_RUNTIME_DIR": d, "HOME": d, "TMPDIR": d}, cwd="/",
                    before=["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"])
    finally:
        shutil.rmtree(d)


def beside_a_supervisor(backend):
    with tractor(backend) as t:
        for name in built():
            events = t.events()
            run = Ended(name, socket=t.path)
            events.wait(lambda e: e["event"] == "removed" and e["path"] == run.base, f"the end of {run.base}")
            events.close()
            t.connections.remove(events)
            assert t.get("/")["children"] == [], t.get("/")


def without_a_supervisor_that_was_named(backend):
    done = subprocess.run([os.path.join(FOLDER, "single_func")], env=dict(os.environ, TRACTOR_SOCKET="/nonexistent"),
                          capture_output=True, text=True, check=False, timeout=BOUND)
    assert done.returncode == 1 and "/nonexistent" in done.stderr, done


def of_no_such_backend(backend):
    done = subprocess.run([os.path.join(FOLDER, "single_func")], env=dict(os.environ, TRACTOR_BACKEND="none"),
                          capture_output=True, text=True, check=False, timeout=BOUND)
    assert done.returncode == 1 and "--backend=none" in done.stderr and "\nsingle_func: " in done.stderr, done


def can_be_watched(backend):
    """The command at the head of each example shows its tree while it runs."""
    for name in built():
        with open(os.path.join(SOURCE, "docs/examples", name + ".c")) as f:
            assert re.search(r"^ \* Watch it from another terminal:  (watch -n 0.1 .*)?tractorctl (tree|top)", f.read(), re.MULTILINE), name
    p = subprocess.Popen([os.path.join(FOLDER, "broadcast_fanout")], env=dict(os.environ, TRACTOR_BACKEND=backend), text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    seen = ""
    while p.poll() is None and "clock" not in seen:
        with contextlib.suppress(AssertionError):
            seen = ctl("tree")
    assert p.wait(timeout=BOUND) == 0
    p.stdout.close()
    assert "clock" in seen, seen


if __name__ == "__main__":
    main([as_they_are, from_elsewhere, without_stdin, as_anybody, beside_a_supervisor, without_a_supervisor_that_was_named,
          of_no_such_backend, can_be_watched])
