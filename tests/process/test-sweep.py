#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Without cgroups: what keeper, supervisor and spawner left when they were killed at once is ended by the next start of the same
service, and nothing else is, however much it looks like it."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
import tractor as harness  # noqa: E402
from tractor import BAD_ACTOR, LIMIT, Connection, gone, kill, main, program, survivors, tractor  # noqa: E402

INSTANCE = f"s{os.getpid()}"
MARKS = {"TRACTOR_INSTANCE": INSTANCE, "TRACTOR_ACTOR_ID": "0123456789abcdef"}
NOTIFY = 'import os, socket; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.bind(os.environ["AT"]); print(flush=True); s.recv(99)'


@contextlib.contextmanager
def service(prefix=(), env=None):
    """A tractord as a service manager runs it: it serves when it says so, and it is stopped by SIGTERM."""
    with tempfile.TemporaryDirectory() as d:
        environ = dict(os.environ, RUNTIME_DIRECTORY=f"{d}/run", STATE_DIRECTORY=f"{d}/state", **(env or {}))
        waiting = subprocess.Popen([sys.executable, "-c", NOTIFY], env=dict(os.environ, AT=f"{d}/notify"), stdout=subprocess.PIPE)
        waiting.stdout.readline()
        process = subprocess.Popen(
            [*prefix, program("tractord"), f"--instance={INSTANCE}", "--backend=process", f"--listen={d}/socket"],
            stdin=subprocess.DEVNULL, env=dict(environ, NOTIFY_SOCKET=f"{d}/notify"))
        waiting.communicate(timeout=LIMIT)
        try:
            connection = Connection(f"{d}/socket")
            assert connection.call("supervisor.status")["backend"] == "process"
            keeper = connection.call("supervisor.status")["keeper_pid"]
            connection.close()
            yield
        finally:
            kill(keeper, signal.SIGTERM)
            assert process.wait(LIMIT) == 0


def decoy(stack, *prefix, env=MARKS, **options):
    """A process that nobody may end; a test that fails does."""
    process = subprocess.Popen([*prefix, "sleep", "1000"], env={"PATH": os.environ["PATH"], **env}, **options)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return process


def strays_end(backend):
    with tempfile.TemporaryDirectory() as d, contextlib.ExitStack() as stack:
        report = f"report-start={d}/started"
        script = f"{BAD_ACTOR} ignore-term {report} hang & setsid env -i {BAD_ACTOR} {report} hang & wait"
        t = harness.Tractor(backend, args=[f"--instance={INSTANCE}"])
        stack.callback(lambda: [kill(pid) for pid, _ in survivors(INSTANCE)])
        t.load(children=[
            {"name": "daemon", "exec": [BAD_ACTOR, f"double-fork={d}/daemon", "notify-ready", "hang"], "ready": "notify"},
            {"name": "nest", "exec": ["setsid", "-w", "sh", "-c", script],
             "ready": {"command": ["sh", "-c", f"test $(wc -l < {d}/started) = 2"], "interval_ms": 20}}])
        doomed = [t.process.pid, t.status["pid"], t.spawner()]
        for signo in signal.SIGSTOP, signal.SIGKILL:
            for pid in doomed:
                kill(pid, signo)
        t.process.wait()
        strays = [int(open(f"{d}/daemon").read()), *(int(line.split()[1]) for line in open(f"{d}/started"))]
        for pid in strays:
            os.kill(pid, 0)
        with service():
            for pid in strays:
                assert gone(pid)
        for connection in t.connections:
            connection.close()
        t.owner.close()
        assert survivors(INSTANCE) == []
        shutil.rmtree(t.dir)


def nobody_else_does(backend):
    with tractor(backend, args=[f"--instance={INSTANCE}"]) as alive, contextlib.ExitStack() as stack:
        alive.load(children=[{"name": "a", "exec": ["sh", "-c", "sleep 1000 & wait"]}])
        actor = alive.pid("/t/a")
        without_actor = decoy(stack, env={"TRACTOR_INSTANCE": INSTANCE})
        others = decoy(stack, env={**MARKS, "TRACTOR_INSTANCE": f"{INSTANCE}x"})
        spared, meant = [without_actor, others], [decoy(stack)]
        if os.geteuid() == 0:
            meant.append(decoy(stack, user=65534))
            marks = [f"{name}={value}" for name, value in MARKS.items()]
            spared.append(decoy(stack, "unshare", "--pid", "--fork", "--kill-child", "env", *marks, env={}))
        # Whoever starts it came by way of a stray: a login that was somebody's actor.
        with service(prefix=["sh", "-c", '"$0" "$@"; exit $?'], env=MARKS):
            assert [p.wait(LIMIT) for p in meant] == [-signal.SIGKILL] * len(meant)
            assert [p.args for p in spared if p.poll() is not None] == []
            assert alive.pid("/t/a") == actor


if __name__ == "__main__":
    main([strays_end, nobody_else_does])
