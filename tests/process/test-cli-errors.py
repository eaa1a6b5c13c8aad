#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What tractorctl says to whoever mistyped something, what it says of each path it was given, and all of that as JSON."""

import json
import os
import re
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, Run, columns, ctl, running  # noqa: E402
from screen import Screen  # noqa: E402
from tractor import LIMIT, main, sleeper  # noqa: E402

TREE = {"children": [sleeper("apple"), {"name": "web", "children": [sleeper("front"), sleeper("back")]}]}
WRONG = {"tractor": 1, "name": "w", "children": [{"name": "a", "exec": ["x"], "restrat": 1}, {"name": "b", "exec": "x"}]}
POINTERS = ["/children/0/restrat", "/children/1/exec"]


def both(*args, socket=None, text=None):
    """(exit code, stdout, stderr)"""
    where = ["--socket", socket] if socket else []
    done = subprocess.run([CTL, *where, *args], capture_output=True, text=True, timeout=LIMIT,
                          **({"input": text} if text is not None else {"stdin": subprocess.DEVNULL}))
    return done.returncode, done.stdout, done.stderr


# --- did you mean --------------------------------------------------------------------------------------------------

def near_paths(backend):
    with running(TREE, backend) as r:
        for path, meant in (("/t/aple", "/t/apple"), ("/t/web/fornt", "/t/web/front"), ("/t/back", "/t/web/back"),
                            ("/T/apple", "/t/apple")):
            for verb in ("status", "restart", "kill", "logs", "tree"):
                line = r.ctl(verb, path, code=3)
                assert f"did you mean {meant}? " in line and path in line, line
        line = r.ctl("spawn", "/t/wbe", "x", "--", "true", code=3)
        assert "did you mean /t/web? " in line, line
        line = r.ctl("status", "/nothing/like/it", code=3)
        assert "did you mean" not in line and "tractorctl list" in line, line


def near_paths_ask_once(backend):
    """The one request more is made where a path was not found, and nowhere else."""
    # Under strace nobody else can look for leaks.
    env = {**os.environ, "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0"}
    with running(TREE, backend) as r:
        def requests(*args):
            trace = os.path.join(r.dir, "trace")
            subprocess.run(["strace", "-f", "-s", "4096", "-e", "trace=sendto,sendmsg,write", "-o", trace, CTL, "--socket", r.socket,
                            *args], capture_output=True, timeout=LIMIT, stdin=subprocess.DEVNULL, env=env)
            with open(trace) as f:
                return re.findall(r'\\"method\\":\\"([a-z_]+\.[a-z_]+)\\"', f.read())
        if subprocess.run(["sh", "-c", "command -v strace && strace -o /dev/null true"], capture_output=True).returncode:
            return
        assert requests("freeze", "/t/apple") == ["supervisor.ping", "actor.freeze"]
        assert requests("freeze", "/t/aple") == ["supervisor.ping", "actor.freeze", "tree.get"]


def mistyped(backend):
    """None of this needs a supervisor."""
    for args, due in ((["restrat"], "'restart'"), (["status", "--jsn"], "--json"), (["set-limit", "/a", "MemroyMax=1"], "MemoryMax"),
                      (["status", "shop/api"], "/shop/api"), (["help", "aply"], "'apply'")):
        line = ctl(*args, code=2)
        assert f"did you mean {due}?" in line, line
    assert "-s 9" in ctl("kill", "/a", "9", code=2)
    for verb in ("status", "logs", "tree", "events", "top", "wait"):
        assert "takes no pattern" in ctl(verb, "/a/*", code=2)
    for verb in ("call", "tell", "stream", "set-limit"):
        assert "takes no pattern" in ctl(verb, "/a/*", "x=1", code=2)


def helps(backend):
    overview = ctl("help")
    assert overview == ctl("--help") == ctl("-h") and "--restart" not in overview
    kill = ctl("help", "kill")
    assert kill == ctl("kill", "--help") == ctl("kill", "/a", "-h") != overview
    assert kill.startswith("usage: tractorctl kill ") and "--signal" in kill and "Example:" in kill and "--reason" not in kill
    assert "not built yet" in ctl("help", "pool", code=1)


# --- as JSON -------------------------------------------------------------------------------------------------------

def json_errors(backend):
    with running(TREE, backend) as r:
        wrong = os.path.join(r.dir, "wrong.json")
        with open(wrong, "w") as f:
            json.dump(WRONG, f)
        broken = os.path.join(r.dir, "broken.json")
        with open(broken, "w") as f:
            f.write("{")
        for args, exit, code in ((["status", "/t/aple"], 3, -32004), (["kill", "/t/apple", "-s", "FOO"], 2, -32602),
                                 (["frobnicate"], 2, None), (["status", "--frob"], 2, None), (["kill"], 2, None),
                                 (["crashes"], 1, None), (["load", wrong], 1, -32602), (["load", broken], 1, None),
                                 (["set-limit", "/t", "Foo=1"], 2, -32602), (["wait", "/t/no", "--timeout=0"], 1, None)):
            for mode in ("--json", "--json=short", "--json=pretty"):
                for line in ([mode, *args], [*args, mode]):
                    status, out, err = both(*line, socket=r.socket)
                    said = json.loads(err)
                    assert status == exit == said["exit"] and json.loads(out or "{}") == {}, (line, out, err)
                    assert said["message"] and said.get("error", {}).get("code") == code, said
                    assert len(err.splitlines()) == 1 or mode == "--json=pretty", err
                    assert said.get("verb") == (args[0] if code or exit != 2 else None), said
        said = json.loads(both("--json", "load", wrong, socket=r.socket)[2])
        assert [p["pointer"] for p in said["error"]["data"]["problems"]] == POINTERS
        assert said["message"].startswith(f"{wrong}: {POINTERS[0]}: "), said
        assert [p["pointer"] for p in json.loads(both("--json", "validate", wrong)[1])] == POINTERS
        assert json.loads(both("--json", "validate", broken)[1])[0]["message"].startswith(f"{broken}:1:")
        nobody = os.path.join(r.dir, "nobody")
        assert json.loads(both("--json", "ping", socket=nobody)[2])["exit"] == 5


def bare_json(backend):
    """Short in a pipe, pretty for people; it takes no word that follows it."""
    with running(TREE, backend) as r:
        out = r.ctl("--json", "tree", "/t/web")
        assert len(out.splitlines()) == 1 and json.loads(out)["path"] == "/t/web"
        assert json.loads(r.ctl("find", "--json", "apple"))["path"] == "/t/apple"
        screen = Screen("--socket", r.socket, "tree", "/t/web", "--json")
        assert screen.end() == 0
        assert len(screen.text.splitlines()) > 10 and json.loads(screen.text)["path"] == "/t/web"


# --- a tree file ---------------------------------------------------------------------------------------------------

def problems_of_a_file(backend):
    with running(TREE, backend) as r:
        file = os.path.join(r.dir, "wrong.json")
        with open(file, "w") as f:
            json.dump(WRONG, f)
        for verb in ("load", "apply"):
            status, out, err = both(verb, file, socket=r.socket)
            lines = err.splitlines()
            assert status == 1 and out == "" and len(lines) == 2, err
            assert [line.split(": ")[:2] for line in lines] == [[file, p] for p in POINTERS], err
            assert lines[1].endswith("see 'man 5 tractor-tree'") and "man 5" not in lines[0], err
        status, out, err = both("load", "-", socket=r.socket, text=json.dumps(WRONG))
        assert status == 1 and err.startswith("-: /children/0/restrat: "), err
        status, out, err = both("validate", file)
        assert status == 1 and err == "" and [line.split(": ")[0] for line in out.splitlines()] == POINTERS, out
        run = Run(json.dumps(WRONG), backend, ready=False)
        lines = run.end(1).splitlines()
        assert [line.split(": ")[:2] for line in lines] == [[run.file, p] for p in POINTERS], lines


# --- what was done -------------------------------------------------------------------------------------------------

def says_each_path(backend):
    with running({"children": [sleeper("a1"), sleeper("a2"), sleeper("keep")]}, backend) as r:
        every = ["/t/a1", "/t/a2"]
        for verb, word in (("restart", "restarted"), ("kill", "signalled"), ("freeze", "frozen"), ("thaw", "thawed"),
                           ("start", None), ("cancel", "stopped: "), ("start", "started"), ("unload", "unloaded")):
            r.ctl("wait", "/t")
            if verb == "freeze":
                for path in every:
                    r.ctl("wait", path)
            out = r.ctl(verb, "/t/a?")
            if word is None:
                assert out == "", "all run, and nothing is to be done"
                continue
            rows = columns(out, 2)
            assert [row[0] for row in rows] == every and all(row[1].startswith(word) for row in rows), (verb, rows)
        assert [row[0] for row in columns(r.ctl("list"), 2)] == ["/t", "/t/keep"]
        assert columns(r.ctl("start", "/t/keep"), 1) == [["/t/keep", "runs already"]]
        assert columns(r.ctl("restart", "--no-wait", "/t/keep"), 1) == [["/t/keep", "asked"]]
        r.ctl("wait", "/t/keep")
        assert r.ctl("-q", "restart", "/t/keep") == ""


def json_by_path(backend):
    with running({"children": [sleeper("a1"), sleeper("a2"), sleeper("keep")]}, backend) as r:
        for verb in ("restart", "freeze", "thaw", "cancel", "start", "kill"):
            if verb == "kill":
                r.ctl("wait", "/t/a1")
            done = r.json(verb, "/t/a*")
            assert list(done) == ["/t/a1", "/t/a2"] and all(isinstance(v, dict) for v in done.values()), (verb, done)
            assert verb != "cancel" or done["/t/a1"]["exit"]["cause"] == "stop"
        assert r.json("start", "/t/keep") is None, "there was nothing to ask"
        status, out, err = both("--json=short", "restart", "/t/keep", "/t/no", socket=r.socket)
        assert status == 3 and list(json.loads(out)) == ["/t/keep"] and json.loads(err)["error"]["data"]["actor"] == "/t/no"
        assert r.json("unload", "/t/a*") == {"/t/a1": {}, "/t/a2": {}}


# --- what a script waits for ---------------------------------------------------------------------------------------

def wait_ends_at_once(backend):
    """Where nothing will start it any more there is nothing to wait for."""
    trap = ["sh", "-c", "trap 'exit 0' TERM; echo > trapped; while :; do sleep 0.01; done"]
    bad = {"name": "bad", "exec": ["false"], "restart": "temporary", "ready": "exited"}
    with running({"children": [sleeper("keep"), bad, {**sleeper("late"), "depends": ["bad"]}]}, backend) as r:
        r.ctl("spawn", "/t", "polite", f"--cwd={r.dir}", "--ready=file:trapped", "--", *trap)
        r.ctl("spawn", "/t", "done", "--restart=transient", "--ready=exited", "--", "true")
        assert "exit 0" in r.ctl("cancel", "/t/polite")
        begin = time.monotonic()
        for path, why in (("/t/bad", "exit 1"), ("/t/late", "what it depends on"), ("/t/polite", "stopped: exit 0")):
            line = r.ctl("wait", path, "--for", "ready", code=1)
            assert why in line and f"tractorctl status {path}" in line, line
            r.ctl("wait", path, "--for", "gone")
        assert time.monotonic() - begin < LIMIT / 2
        r.ctl("wait", "/t/done")
        r.ctl("restart", "/t/bad", code=1)
        r.ctl("restart", "/t/done")


if __name__ == "__main__":
    main([near_paths, near_paths_ask_once, mistyped, helps, json_errors, bare_json, problems_of_a_file, says_each_path, json_by_path,
          wait_ends_at_once])
