#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl logs: what an actor wrote, from the supervisor's files or the journal, across restarts and while it writes."""

import json
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, running  # noqa: E402
from tractor import LIMIT, main, sleeper  # noqa: E402

JOURNAL = os.path.exists("/run/systemd/journal/socket")


def shell(name, script, **keys):
    return {"name": name, "exec": ["sh", "-c", script], **keys}


class Follow:
    """logs -f, read line by line."""

    def __init__(self, r, *args):
        self.process = subprocess.Popen([CTL, "--socket", r.socket, "logs", "-f", *args], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.seen = []

    def until(self, pattern):
        for line in self.process.stdout:
            self.seen.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return line
        raise AssertionError(f"{pattern} did not come: {self.seen} {self.process.stderr.read()}")

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=LIMIT)


def across_restarts(backend):
    with running({"children": [shell("a", "echo this is $TRACTOR_GENERATION; echo oops >&2; exec sleep 1000"),
                               sleeper("other")]}, backend) as r:
        f = Follow(r, "/t/a")
        f.until("oops")
        r.ctl("restart", "/t/a")
        f.until("this is 2")
        f.until("oops")
        f.end()
        if JOURNAL:
            subprocess.run(["journalctl", "--sync"], check=True)
        text = r.ctl("logs", "/t/a")
        assert [x for x in ("this is 1", "this is 2") if x not in text] == [], text
        assert len(r.ctl("logs", "-n", "1", "/t/a").splitlines()) == 1
        items = [json.loads(line) for line in r.ctl("--json=short", "logs", "/t/a").splitlines()]
        if JOURNAL:
            said = [i for i in items if i.get("_TRANSPORT") == "stdout"]
            assert len(said) == 4 and {i["SYSLOG_IDENTIFIER"] for i in said} == {"a"}, said
            assert {i.get("TRACTOR_PATH") for i in items} == {"/t/a", None}, "its own story, too"
            return
        assert [(i["stream"], i["text"]) for i in items if i["stream"] == "stdout"] == [
            ("stdout", "this is 1"), ("stdout", "this is 2")], items
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", i["time"]) for i in items)
        row = r.ctl("logs", "-n1", "/t/a").rstrip("\n").split("\t")
        assert len(row) == 3 and row[1] in ("stdout", "stderr"), row


def nothing_yet(backend):
    with running({"children": [shell("a", f"mkfifo go; read x <go; echo $x; exec sleep 1000", ready={"file": "go"}),
                               shell("b", "exec sleep 1000", stdout="null", stderr="null"), sleeper("c")]}, backend) as r:
        if not JOURNAL:
            assert r.ctl("logs", "/t/a") == ""
        f = Follow(r, "/t/a")
        with open(os.path.join(r.dir, "go"), "w") as go:
            go.write("went\n")
        f.until("went")
        f.end()
        assert "not kept" in r.ctl("logs", "/t/b", code=1)
        assert "supervisor" in r.ctl("logs", "/t", code=1)
        assert "/t/none" in r.ctl("logs", "/t/none", code=3)
        r.ctl("logs", code=2)
        r.ctl("logs", "-n", "x", "/t/a", code=2)


def rotation(backend):
    """A follower sees each line once, however often the file is renamed under it."""
    if JOURNAL:
        return
    # Both ends of it, for good: to open it anew while the last writer has not closed it yet is to read its end.
    script = 'i=0; mkfifo go; exec 3<>go; while read n <&3; do seq -f "line %.0f" $((i + 1)) $((i + n)); i=$((i + n)); done'
    with running({"children": [shell("a", script, ready={"file": "go"})]}, backend) as r:
        f, total, step = Follow(r, "-n", "500000", "/t/a"), 0, 20000  # a step is less than a file
        for _ in range(8):
            with open(os.path.join(r.dir, "go"), "w") as go:
                go.write(f"{step}\n")
            total += step
            f.until(f"line {total}$")
        f.end()
        folder = os.path.dirname(next(os.path.join(d, x) for d, _, n in os.walk(r.dir) for x in n if x == "t+a.log"))
        assert sorted(os.listdir(folder)) == ["t+a.log", "t+a.log.1"]
        seen = [line.split("\t")[2] for line in f.seen]
        due = [f"line {i}" for i in range(1, total + 1)]
        wrong = next((i for i, (a, b) in enumerate(zip(seen, due)) if a != b), None)
        assert seen == due, f"{len(seen)} of {len(due)}; the first that differs: {wrong}: {seen[wrong or 0:][:3]}"
        kept = [int(line.rsplit(" ", 1)[1]) for line in r.ctl("logs", "/t/a").splitlines()]
        assert kept == list(range(kept[0], total + 1)) and kept[0] > 1, "the oldest is gone, nothing in between"
        last = r.ctl("logs", "-n", "30000", "/t/a").splitlines()
        assert len(last) == 30000 and last[-1].endswith(f"line {total}")


def long_lines(backend):
    if JOURNAL:
        return
    with running({"children": [shell("a", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo -n cut; exec sleep 1000")]},
                 backend) as r:
        f = Follow(r, "/t/a")
        assert f.until("x").rstrip("\n").split("\t")[2] == "x" * 100000
        f.end()


def permission(backend):
    if JOURNAL or os.getuid() != 0:
        return
    with running({"children": [shell("a", "echo secret; exec sleep 1000")]}, backend) as r:
        f = Follow(r, "/t/a")
        f.until("secret")
        f.end()

        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        if subprocess.run(["test", "-x", CTL], preexec_fn=nobody).returncode:
            return  # a build that others can't read
        os.chmod(r.dir, 0o711)
        os.chmod(r.socket, 0o666)
        r.ctl("logs", "/t/a", code=4, preexec_fn=nobody)
        # One who may look at the tree, as a rule of the access.d may have it, still can't read the files.
        ours = json.loads(r.ctl("--json=short", "status"))["instance"]
        path = next(d for d, _, _ in os.walk(r.dir) if d.endswith(ours))
        assert os.stat(path).st_mode & 0o077 == 0


if __name__ == "__main__":
    main([across_restarts, nothing_yet, rotation, long_lines, permission])
