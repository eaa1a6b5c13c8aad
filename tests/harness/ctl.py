# SPDX-License-Identifier: Apache-2.0
"""tractorctl as a test runs it: a verb to its end with its exit code, and `run` in the background."""

import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile

from tractor import BAD_ACTOR, LIMIT, program, survivors

CTL = program("tractorctl")


def bad(name, *actions, **keys):
    return {"name": name, "exec": [BAD_ACTOR, *actions], **keys}


def ctl(*args, code=0, env=None, text=None, **options):
    """A verb, run to its end: its stdout; where it fails with nothing on stdout, its one line of stderr."""
    environ = {k: v for k, v in os.environ.items() if k not in ("TRACTOR_SOCKET", "NO_COLOR")}
    done = subprocess.run([CTL, *args], capture_output=True, text=True, timeout=LIMIT, env=environ | (env or {}),
                          **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}), **options)
    assert done.returncode == code, f"{args}: exit {done.returncode}, {code} was due: {done.stdout}{done.stderr}"
    if code == 0:
        assert done.stderr == "", f"{args}: {done.stderr}"
        return done.stdout
    if not done.stdout:
        one_line(done.stderr, args)
        return done.stderr.strip()
    return done.stdout


def one_line(stderr, args):
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("tractorctl: "), f"{args}: not one line: {stderr}"
    assert len(lines[0]) > len("tractorctl: ") + 10


class Run:
    def __init__(self, tree, backend, *args, env=None, named=True, ready=True):
        self.dir = tempfile.mkdtemp(prefix="tractor-test-")
        atexit.register(shutil.rmtree, self.dir, True)
        self.socket, self.file = os.path.join(self.dir, "sock"), os.path.join(self.dir, "tree.json")
        with open(self.file, "w") as f:
            f.write(tree if isinstance(tree, str) else json.dumps({"tractor": 1, "name": "t", **tree}))
        environ = {k: v for k, v in os.environ.items() if k != "TRACTOR_SOCKET"}
        self.process = subprocess.Popen(
            [CTL, "run", self.file, f"--backend={backend}", *(["--socket", self.socket] if named else []), *args],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environ | {"STATE_DIRECTORY": self.dir} | (env or {}))
        atexit.register(self.process.kill)
        self.pid, self.lines = self.process.pid, []
        if ready:
            name = "t" if isinstance(tree, str) else tree.get("name", "t")
            self.until(rf" /{name} state starting -> ready")

    def until(self, pattern):
        """The first line, come or to come, that fits."""
        for line in self.lines:
            if re.search(pattern, line):
                return line
        for line in self.process.stdout:
            self.lines.append(line)
            if re.search(pattern, line):
                return line
        raise AssertionError(f"{pattern} did not come: {self.lines}{self.process.stderr.read()}")

    def ctl(self, *args, **options):
        return ctl("--socket", self.socket, *args, **options)

    def json(self, *args, **options):
        return json.loads(self.ctl("--json=short", *args, **options))

    def node(self, path):
        return self.json("status", path)

    def end(self, code=0, signo=None):
        if signo:
            self.process.send_signal(signo)
        out, err = self.process.communicate(timeout=LIMIT)
        self.lines += out.splitlines(True)
        assert self.process.returncode == code, f"{self.process.returncode}, {code} was due: {self.lines} {err}"
        assert not os.path.exists(self.socket)
        return err

    @property
    def instance(self):
        return self.json("status")["instance"]


@contextlib.contextmanager
def running(tree, backend, **options):
    run = Run(tree, backend, **options)
    instance = run.instance
    yield run
    if run.process.poll() is None:
        run.end(0, signal.SIGINT)
    assert survivors(instance) == []


def columns(text, count=None):
    rows = [line.split("\t") for line in text.splitlines()]
    assert len({len(row) for row in rows}) == 1 and (count is None or len(rows) == count), rows
    assert "\x1b" not in text
    return rows
