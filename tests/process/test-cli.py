#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl as its manual tells it: every verb there is, exit codes, what a pipe and a JSON reader get, what an error
looks like, and how `run` begins and ends. Written from the documents alone."""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, Run, bad, columns, ctl, running  # noqa: E402
from proxy import overheard  # noqa: E402
from tractor import BAD_ACTOR, BUILD, LIMIT, await_change, gone, kill, main, read_text, sleeper, survivors  # noqa: E402

# What differs from the documents, by test: printed, and not run.
KNOWN = {}

LATER = ("crashes debug metrics pool reexec").split()
NEXT = re.compile(r"; (see|try|start|choose|use|give|name|check|run|did you mean) |usage: ")


def stopped(pid):
    """A signal that stops is taken when its process next runs, and only its parent is told."""
    deadline = time.monotonic() + LIMIT
    while "T (" not in open(f"/proc/{pid}/status").read():
        assert time.monotonic() < deadline, f"{pid} was not stopped"
        time.sleep(0.001)


# --- run -----------------------------------------------------------------------------------------------------------

def run_interrupted(backend):
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        r = Run({"children": [sleeper("a"), {"name": "b", "children": [sleeper("c")]}]}, backend)
        instance, pids = r.instance, [r.node(p)["pid"] for p in ("/t/a", "/t/b/c")]
        start = time.monotonic()
        r.end(0, signo)
        assert time.monotonic() - start < 1
        assert not [p for p in pids if os.path.exists(f"/proc/{p}")] and survivors(instance) == []
        for line in r.lines:
            assert re.match(r"\d\d:\d\d:\d\d\.\d{3} /\S* \S+", line) and line.count("\n") == 1, line


def run_interrupted_twice(backend):
    r = Run({"children": [bad("a", "ignore-term", "notify-ready", "hang", ready="notify", grace_ms=60000)]}, backend)
    pid = r.node("/t/a")["pid"]
    r.process.send_signal(signal.SIGINT)
    r.until("/t/a state ready -> stopping")
    start = time.monotonic()
    r.end(0, signal.SIGINT)
    assert time.monotonic() - start < 5 and gone(pid)


def run_ends_by_itself(backend):
    well = {"children": [bad("a", "after=50", restart="temporary"), bad("b", "exit=0", ready="exited", restart="transient")]}
    Run(well, backend, ready=False).end(0)
    for tree in ({"children": [bad("a", "exit=3", restart="temporary")]},
                 {"on_give_up": "isolate", "intensity": {"max_restarts": 1, "within_ms": 9999}, "children": [
                     bad("a", "exit=3"), bad("b", "after=100", restart="transient")]},
                 {"children": [{"name": "x", "exec": ["/nonexistent"]}], "intensity": {"max_restarts": 0, "within_ms": 9}}):
        err = Run(tree, backend, ready=False).end(1)
        said = [line for line in err.splitlines() if line.startswith("tractorctl: ")]
        assert len(said) == 1 and "/t" in said[0], err
    Run({"children": []}, backend, ready=False).end(0)


def run_waits_for_backoff(backend):
    r = Run({"intensity": {"max_restarts": 2, "within_ms": 60000}, "children": [
        bad("a", "exit=1", backoff={"initial_ms": 400, "jitter": 0})]}, backend, ready=False)
    start = time.monotonic()
    r.end(1)
    assert time.monotonic() - start >= 0.4


def run_wrong_file(backend):
    r = Run({"children": [{"name": "a", "exec": ["sleep", "1"], "grace": 1}, {"name": "a", "exec": "b"}]}, backend, ready=False)
    err = r.end(1)
    assert r.lines == [], r.lines
    for pointer in ("/children/0/grace", "/children/1/name", "/children/1/exec"):
        assert [line for line in err.splitlines() if line.startswith(f"{r.file}: {pointer}: ")], err


def run_wrong_file_says_only_that(backend):
    r = Run({"children": [{"name": "a", "exec": ["sleep", "1"], "grace": 1}]}, backend, ready=False)
    err = r.end(1)
    assert len(err.splitlines()) == 1 and err.startswith(f"{r.file}: /children/0/grace: "), err
    assert err.endswith("see 'man 5 tractor-tree'\n"), err


def run_socket(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        path = os.path.join(folder, "s")
        r = Run({"children": [{"name": "x", "exec": ["sleep", "100"], "ready": "notify", "start_timeout_ms": 60000}]}, backend,
                "--socket", path, named=False, ready=False)
        r.until("/t/x spawned")  # not ready: it is there before the tree is
        assert ctl("--socket", path, "ping").startswith("ok")
        assert ctl("ping", env={"TRACTOR_SOCKET": path}).startswith("ok")
        assert json.loads(ctl("--json=short", "status", "/t/x", env={"TRACTOR_SOCKET": path}))["state"] == "starting"
        ctl("run", r.file, "--socket", path, f"--backend={backend}", code=1)
        assert ctl("--socket", path, "ping").startswith("ok"), "the second took the first one's socket away"
        r.end(0, signal.SIGINT)
        assert not os.path.exists(path)


def run_bad_socket(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        with open(os.path.join(folder, "t.json"), "w") as f:
            json.dump({"tractor": 1, "name": "t", "children": []}, f)
        line = ctl("run", f.name, "--socket", os.path.join(folder, "none", "s"), f"--backend={backend}", code=1)
        assert "No such file" in line and "none/s" in line and NEXT.search(line), line
        line = ctl("run", f.name, "--socket", folder, f"--backend={backend}", code=1)
        assert NEXT.search(line), line
        assert os.listdir(folder) == ["t.json"]


def run_says_once_what_happens(backend):
    """Events are lines of stdout; stderr has what went wrong: crashes with their last words, and what gave up."""
    r = Run({"children": [sleeper("a"), {"name": "b", "exec": ["sh", "-c", "echo farewell >&2; exit 3"],
                                         "restart": "temporary"}]}, backend, ready=False)
    r.until("/t/b state .* failed")
    err = r.end(0, signal.SIGINT)
    assert not re.search(r"/t/a|started|stopped|loaded|backend", err), err
    if not os.path.exists("/run/systemd/journal/socket"):  # else it has them
        assert re.search(r"^tractor-supervisor: /t/b: exited with code 3 .*last words: farewell$", err, re.M), err


def two_runs(backend):
    """Two runs of one file at the same time never meet: neither sockets, processes, cgroups, nor output files."""
    name = f"twin{os.getpid()}"
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as state:
        a, b = (Run({"name": name, "children": [sleeper("x"), bad("y", "flood=10", "hang")]}, backend, named=False,
                    env={"STATE_DIRECTORY": state}) for _ in range(2))
        ask = [["--run", f"{name}-{r.pid}", "--json=short"] for r in (a, b)]
        status = [json.loads(ctl(*who, "status")) for who in ask]
        nodes = [json.loads(ctl(*who, "status", f"/{name}/x")) for who in ask]
        for one, other in (status, nodes):
            assert one["pid"] != other["pid"]
        assert status[0]["instance"] != status[1]["instance"]
        for key in ("cgroup", "unit"):
            assert nodes[0].get(key) is None or nodes[0][key] != nodes[1][key]
        ctl("--run", name, "ping", code=2)
        ctl("ping", code=2)
        ctl(*ask[0][:2], "cancel", f"/{name}/x")
        assert json.loads(ctl(*ask[1], "status", f"/{name}/x"))["pid"] == nodes[1]["pid"]
        a.end(0, signal.SIGINT)
        assert json.loads(ctl("--run", name, "--json=short", "status", f"/{name}/x"))["pid"] == nodes[1]["pid"]
        kill(b.pid)
        b.process.communicate()
        for pid in (nodes[1]["pid"], status[1]["pid"], status[1]["keeper_pid"]):
            assert gone(pid)
        ctl("--run", name, "ping", code=5)


def environment_of_run(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        out = os.path.join(folder, "env")
        env = {"BLACK_BOX": "a=b c"}
        r = Run({"children": [{"name": "x", "exec": ["env"], "stdout": f"file:{out}", "ready": "exited",
                               "restart": "transient"}]}, backend, env=env, ready=False)
        r.end(0)
        with open(out) as f:
            got = dict(line.rstrip("\n").split("=", 1) for line in f)
        due = {k: v for k, v in os.environ.items() if not k.startswith("TRACTOR_")}
        due |= env | {"STATE_DIRECTORY": r.dir}
        differ = {k: (v, got.get(k)) for k, v in due.items() if got.get(k) != v}
        assert not differ, differ
        assert [k for k in got if k not in due and not k.startswith("TRACTOR_") and k not in os.environ] == [], got


def service_variables_pass_through_run(backend):
    """`run` passes its environment on unchanged, what a service manager gave it included: it is no service of its."""
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        out = os.path.join(folder, "env")
        for program in glob.glob(f"{BUILD}/src/*/tractor*"):
            if os.access(program, os.X_OK) and not os.path.isdir(program):
                os.symlink(program, os.path.join(folder, os.path.basename(program)))
        env = {"INVOCATION_ID": "1234", "STATE_DIRECTORY": folder, "JOURNAL_STREAM": "1:2", "TRACTOR_LIBEXECDIR": folder}
        Run({"children": [{"name": "x", "exec": ["env"], "stdout": f"file:{out}", "ready": "exited",
                           "restart": "transient"}]}, backend, env=env, ready=False).end(0)
        with open(out) as f:
            got = dict(line.rstrip("\n").split("=", 1) for line in f)
        assert {k: got.get(k) for k in env} == env


# --- validate, load, unload ----------------------------------------------------------------------------------------

def validate(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        def file(text):
            with open(os.path.join(folder, "f.json"), "w") as f:
                f.write(text if isinstance(text, str) else json.dumps(text))
            return f.name
        nowhere = {"XDG_RUNTIME_DIR": folder}
        good = {"tractor": 1, "name": "v", "children": [{"name": "a", "exec": ["./here"]}]}
        assert ctl("validate", file(good), env=nowhere) == ""
        wrong = file({"tractor": 1, "name": "v", "x": 1, "children": [{"name": "a", "exec": ["b"], "nice": "x", "pool": {}}]})
        lines = ctl("validate", wrong, code=1, env=nowhere).splitlines()
        assert sorted(line.split(": ")[0] for line in lines) == ["/children/0/nice", "/children/0/pool", "/x"], lines
        got = json.loads(ctl("--json=short", "validate", wrong, code=1, env=nowhere))
        got = got if isinstance(got, list) else got["problems"]
        assert sorted(p["pointer"] for p in got) == ["/children/0/nice", "/children/0/pool", "/x"]
        out = ctl("validate", file('{"tractor": 1,\n "name": oops}'), code=1, env=nowhere).splitlines()
        assert len(out) == 1 and re.match(r".*f\.json:2:\d+: \S", out[0]), out
        missing = ctl("validate", file({}), code=1, env=nowhere).splitlines()
        assert len(missing) == 3 and all(line.startswith(": ") for line in missing), missing
        assert "none.json" in ctl("validate", os.path.join(folder, "none.json"), code=1, env=nowhere)
        ctl("validate", code=2)


def load_unload(backend):
    with running({"children": [sleeper("keep")]}, backend) as r:
        tree = {"tractor": 1, "name": "u", "children": [sleeper("a"), {"name": "w", "exec": ["./here"]}]}
        file = os.path.join(r.dir, "u.json")
        with open(os.path.join(r.dir, "here"), "w") as f:
            f.write("#!/bin/sh\nexec sleep 1000\n")
        os.chmod(f.name, 0o755)
        with open(file, "w") as f:
            json.dump(tree, f)
        r.ctl("load", file)
        pid = r.node("/u/w")["pid"]
        assert os.readlink(f"/proc/{pid}/cwd") == r.dir
        assert "/u" in r.ctl("load", file, code=1)
        r.ctl("unload", "/u")
        assert gone(pid)
        r.ctl("status", "/u", code=3)
        r.ctl("unload", "/u", code=3)
        r.ctl("load", "-", text=json.dumps(tree | {"children": [sleeper("a")]}))
        assert r.node("/u/a")["state"] == "ready"
        r.ctl("unload", "/u")
        line = r.ctl("load", "-", code=1, text=json.dumps({
            "tractor": 1, "name": "u", "intensity": {"max_restarts": 0, "within_ms": 1},
            "children": [{"name": "x", "exec": ["/nonexistent"]}, sleeper("y")]}))
        assert "/u" in line and "No such file" in line, line
        r.ctl("status", "/u", code=3)


# --- looking -------------------------------------------------------------------------------------------------------

def looking(backend):
    children = [sleeper("a"), {"name": "b", "children": [bad("c", "exit=3", restart="temporary")]}]
    with running({"children": children}, backend) as r:
        r.until("/t/b/c state .* failed")
        rows = columns(r.ctl("list"), 4)
        assert [row[0] for row in rows] == ["/t", "/t/a", "/t/b", "/t/b/c"], rows
        assert [row[0] for row in rows if row[2] == "failed"] == ["/t/b/c"] and rows[1][3] == str(r.node("/t/a")["pid"])
        assert rows[0][3] == "-", "an empty column"
        assert [row[0] for row in columns(r.ctl("list", "/t/b*"))] == ["/t/b", "/t/b/c"]
        r.ctl("list", "/nothing*", code=3)
        tree = columns(r.ctl("tree"), 4)
        assert [row[0] for row in tree] == ["t", "  a", "  b", "    c"], tree
        assert [row[0].strip() for row in columns(r.ctl("tree", "/t/b"))] == ["b", "c"]
        assert "3" in tree[3][5], tree
        assert columns(r.ctl("--json=off", "tree"), 4)
        status = dict(row[:2] for row in columns(r.ctl("status")))
        due = {"version", "pid", "keeper_pid", "instance", "uptime_ms", "backend", "why", "actors", "supervisors",
               "connections", "features", "controllers"}
        assert due <= set(status) and status["backend"] == backend, status
        assert due | {"cgroup"} <= set(r.json("status"))
        node = dict(line.split("\t")[:2] for line in r.ctl("status", "/t/a").splitlines())
        assert node["path"] == "/t/a" and node["state"] == "ready" and int(node["pid"])
        assert "/t/b/c" in r.ctl("status", "/t/b") and "failed" in r.ctl("status", "/t/b")
        assert r.json("tree")["path"] == "/" and r.json("tree", "/t/b")["children"][0]["exit"]["code"] == 3
        assert [n["path"] for n in r.json("list")] == ["/t", "/t/a", "/t/b", "/t/b/c"]
        pretty = r.ctl("--json=pretty", "tree")
        assert json.loads(pretty)["path"] == "/" and len(pretty.splitlines()) > 10
        assert len(r.ctl("--json=short", "tree").splitlines()) == 1
        assert r.ctl("ping").startswith("ok") and r.json("ping") == {} and r.ctl("-q", "ping") in ("", "ok\n")
        version = r.ctl("version")
        assert re.search(r"tractorctl\t\d+\.\d+\.\d+\n", version) and "supervisor" in version
        assert r.json("version")["tractorctl"] == r.json("status")["version"]
        for verb in ("status", "tree", "events"):
            assert "/nobody" in r.ctl(verb, "/nobody", code=3)
        r.ctl("kill", "/t/b/c", code=3)


def events(backend):
    with running({"children": [sleeper("a"), {"name": "b", "children": [sleeper("c")]}]}, backend) as r:
        lines = r.ctl("events", "/t").splitlines()
        assert [line.split()[1] for line in lines] == ["/t", "/t/a", "/t/b", "/t/b/c"], lines
        items = [json.loads(line) for line in r.ctl("--json=short", "events", "/t").splitlines()]
        assert all({"time_us", "path", "event"} <= set(i) for i in items), items
        # That a subscription was taken is told to the subscriber alone, and it says nothing before the first event.
        with overheard(r.socket, b"$/started") as (path, taken):
            follow = subprocess.Popen([CTL, "--socket", path, "--json=short", "events", "-f", "/t/b"],
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            taken()
            r.ctl("restart", "/t/a")
            r.ctl("restart", "/t/b/c")
            seen = []
            while not seen or seen[-1].get("to") != "ready":
                seen.append(json.loads(follow.stdout.readline()))
            assert {i["path"] for i in seen} == {"/t/b/c"} and all({"epoch", "seq", "time_us", "event"} <= set(i) for i in seen)
            follow.send_signal(signal.SIGINT)
            follow.communicate(timeout=LIMIT)


# --- changing ------------------------------------------------------------------------------------------------------

def changing(backend):
    with running({"children": [sleeper("a"), sleeper("b"), sleeper("keep")]}, backend) as r:
        first = r.node("/t/a")
        r.ctl("kill", "/t/a", "-s", "KILL")
        r.until("/t/a state starting -> ready generation=2")
        assert r.node("/t/a")["restarts"] == 1 and r.node("/t/a")["pid"] != first["pid"]
        r.ctl("restart", "/t/a", "/t/b")
        assert r.node("/t/a")["generation"] == 3 and r.node("/t/b")["generation"] == 2
        r.ctl("freeze", "/t/a")
        if backend == "process":
            stopped(r.node("/t/a")["pid"])
        assert r.node("/t/a")["state"] == "ready"
        r.ctl("thaw", "/t/a")
        row = columns(r.ctl("cancel", "/t/a", "/t/b", "--reason", "for now", "--grace-ms", "500"), 2)
        assert [x[0] for x in row] == ["/t/a", "/t/b"] and "SIGTERM" in row[0][1], row
        assert r.node("/t/a")["state"] == "dead" and r.node("/t/a")["exit"]["cause"] == "stop"
        r.ctl("kill", "/t/a", code=3)
        r.ctl("freeze", "/t/a", code=3)
        r.ctl("start", "/t/a")
        pid = r.node("/t/a")["pid"]
        r.ctl("start", "/t/a")
        assert r.node("/t/a")["pid"] == pid, "what runs is left alone"
        r.ctl("restart", "/t/b")
        for verb in ("cancel", "kill", "restart", "start", "freeze", "thaw"):
            assert "/nobody" in r.ctl(verb, "/nobody", code=3)
            r.ctl(verb, code=2)
        r.ctl("kill", "/t/a", "-s", "FOO", code=2)
        generation = r.node("/t/b")["generation"]
        r.ctl("restart", "/nobody", "/t/b", code=3)
        assert r.node("/t/b")["generation"] == generation + 1, "all are asked"
        assert set(r.json("cancel", "/t/b")["exit"]) >= {"cause", "pid", "runtime_ms"}
        r.ctl("restart", "--no-wait", "/t/a")


def frozen_shows_its_state(backend):
    """The third column is the state, frozen or not: scripts compare it."""
    with running({"children": [sleeper("a")]}, backend) as r:
        r.ctl("freeze", "/t/a")
        assert columns(r.ctl("list", "/t/a"), 1)[0][2] == "ready"
        assert columns(r.ctl("tree", "/t/a"), 1)[0][1] == "ready"
        assert [columns(r.ctl(verb), 2)[1][-1] for verb in ("list", "tree")] == ["frozen"] * 2
        assert r.json("list", "/t/a")[0]["state"] == "ready" and r.json("list", "/t/a")[0]["frozen"] is True
        r.ctl("thaw", "/t/a")
        assert columns(r.ctl("list", "/t/a"), 1)[0][-1] == "-"


def spawn(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        def pid_of(*args):
            return int(columns(r.ctl("spawn", "/t", *args), 1)[0][1])
        pid = pid_of("s1", "--env", "A=1", "--env-clear", "--nice=3", "--umask=077", "--rlimit", "NOFILE=99",
                     "--cwd=/usr", "--stop-signal=INT", "--grace-ms=1000", "--oom-score-adj=7", "--description=hello", "--",
                     "/bin/sleep", "1000")
        assert os.readlink(f"/proc/{pid}/cwd") == "/usr" and os.getpriority(os.PRIO_PROCESS, pid) == 3
        with open(f"/proc/{pid}/environ") as f:
            assert "A=1" in f.read().split("\0")
        with open(f"/proc/{pid}/oom_score_adj") as f:
            assert f.read() == "7\n"
        with open(f"/proc/{pid}/limits") as f:
            assert re.search(r"Max open files\s+99\s+99", f.read())
        assert "SIGINT" in r.ctl("cancel", "/t/s1")
        sock = os.path.join(r.dir, "x")
        pid_of("s2", f"--ready=socket:{sock}", "--", BAD_ACTOR, "after=50", f"listen={sock}", "hang")
        assert os.path.exists(sock) and r.node("/t/s2")["state"] == "ready"
        pid = pid_of("s3", "--user=www-data", "--stdout=null", "--seccomp=default", "--set", "capabilities=[]", "--depends", "a",
                     "--restart=temporary", "--", "sleep", "1000")
        assert os.stat(f"/proc/{pid}").st_uid != 0
        assert r.json("spawn", "/t", "s4", "--", "sleep", "9")["path"] == "/t/s4"
        r.ctl("spawn", "/t", "s4", "--", "sleep", "9", code=1)
        r.ctl("spawn", "/t", "s5", code=2)
        r.ctl("spawn", "/t", "s5", "--bogus", "--", "true", code=2)
        r.ctl("spawn", "/nobody", "s5", "--", "true", code=3)
        assert "No such file" in r.ctl("spawn", "/t", "s6", "--", "no-such-program", code=1)
        r.ctl("spawn", "/t", "s7", "--restart=temporary", "--ready=exited", "--", "false", code=1)
        r.ctl("spawn", "/t", "s8", "--restart=temporary", "--ready=exited", "--", "true")
        r.ctl("spawn", "/t", "s9", "--ready=notify", "--no-wait", "--", "sleep", "1000")
        assert r.node("/t/s9")["state"] == "starting"
        r.ctl("spawn", "/t", "s10", "--set", "pool={}", "--", "true", code=1)


def set_limit(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        controllers = r.json("status")["controllers"].split()
        if "pids" in controllers:
            r.ctl("set-limit", "/t/a", "TasksMax=77")
            assert r.node("/t/a")["limits"]["TasksMax"] == 77
        else:
            assert "TasksMax" in r.ctl("set-limit", "/t/a", "TasksMax=77", code=1)
        r.ctl("set-limit", "/t/a", code=2)
        r.ctl("set-limit", "/t/a", "TasksMax", code=2)
        r.ctl("set-limit", "/nobody", "TasksMax=77", code=3)


# --- errors --------------------------------------------------------------------------------------------------------

def exit_codes(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        ctl(code=2)
        ctl("frobnicate", code=2)
        ctl("status", "--frobnicate", code=2)
        ctl("--json=yaml", "ping", code=2)
        ctl("run", code=2)
        ctl("run", r.file, "--backend=none", code=2)
        for verb in LATER:
            assert verb in r.ctl(verb, "/t", "x", code=1)
        ctl("--socket", os.path.join(r.dir, "nobody"), "ping", code=5)
        ctl("--run", "nobody-is-called-so", "ping", code=5)
        ctl("ping", code=5, env={"TRACTOR_SOCKET": os.path.join(r.dir, "nobody")})
        ctl("--user", "ping", code=5, env={"XDG_RUNTIME_DIR": r.dir})
        assert ctl("--help") and ctl("run", "--help") and ctl("help")


def permission(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        def nobody():
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        if subprocess.run(["test", "-x", CTL], preexec_fn=nobody).returncode:
            return  # a build that others can't read
        for folder, _, _ in os.walk(r.dir):
            os.chmod(folder, 0o755)
        pid = r.node("/t/a")["pid"]
        os.chmod(r.socket, 0o600)
        ctl("--socket", r.socket, "status", code=4, preexec_fn=nobody)
        os.chmod(r.socket, 0o666)
        assert ctl("--socket", r.socket, "ping", preexec_fn=nobody)
        for args in (["status"], ["tree"], ["cancel", "/t/a"], ["kill", "/t/a"], ["freeze", "/t/a"],
                     ["set-limit", "/t", "TasksMax=1"], ["spawn", "/t", "x", "--", "true"],
                     ["unload", "/t"], ["events", "-f"], ["load", r.file]):
            ctl("--socket", r.socket, *args, code=4, preexec_fn=nobody)
        assert r.node("/t/a")["pid"] == pid


def errors_say_what_to_try(backend):
    """What, where, why, and the next command to try."""
    with running({"children": [sleeper("a"), sleeper("keep")]}, backend) as r:
        nobody = os.path.join(r.dir, "nobody")
        said = [ctl("--socket", nobody, "ping", code=5), ctl("ping", code=5, env={"TRACTOR_SOCKET": nobody}),
                ctl("validate", nobody, code=1), ctl("run", nobody, code=1), r.ctl("load", nobody, code=1),
                r.ctl("kill", "/t/a", "-s", "FOO", code=2), r.ctl("status", "/no", code=3), r.ctl("crashes", code=1),
                r.ctl("set-limit", "/t/a", "Foo=1", code=2), r.ctl("set-limit", "/t/a", "MemoryMax=x", code=2),
                r.ctl("spawn", "/t/a", "x", "--", "true", code=2), r.ctl("load", r.file, code=1)]
        if "memory" not in r.json("status")["controllers"].split():
            said.append(r.ctl("set-limit", "/t/a", "MemoryMax=1G", code=1))
        r.ctl("cancel", "/t/a")
        said += [r.ctl("kill", "/t/a", code=3), r.ctl("unload", "/", code=2)]
        silent = [line for line in said if not NEXT.search(line)]
        assert not silent, "\n".join(silent)


def advice_is_good(backend):
    """The command that an error names works."""
    with running({"children": [sleeper("a")]}, backend) as r:
        for line in (r.ctl("spawn", "/t", "x", "--restart=temporary", "--", "no-such-program", code=1),
                     r.ctl("spawn", "/t", "y", "--restart=temporary", "--ready=exited", "--", "false", code=1),
                     r.ctl("status", "/no", code=3), ctl(code=2)):
            found = re.search(r"'tractorctl ([^']+)'", line)
            assert found, line
            args = found.group(1).split()
            (ctl if args[0] == "help" else r.ctl)(*args)


def status_says_why(backend):
    """Of one that failed: why, the last it said, and where to look next; of each how it is run, with --json too."""
    journal = os.path.exists("/run/systemd/journal/socket")
    say = "for i in 1 2 3 4 5 6 7 8; do echo line $i; done; exit 7"
    tree = {"on_give_up": "isolate", "intensity": {"max_restarts": 1, "within_ms": 60000}, "children": [
        {"name": "x", "exec": ["sh", "-c", say]}, {"name": "s", "intensity": {"max_restarts": 0}, "children": [
            {"name": "n", "exec": ["/nonexistent"]}, bad("other", "hang")]},
        bad("away", "exit=3", restart="temporary", stdout="null", stderr="null"),
        bad("y", "hang", limits={"TasksMax": 1000}, limits_optional=True)]}
    with running(tree, backend) as r:
        for path in "/t/x", "/t/s", "/t/away":
            r.until(f" {path} state .* failed")
        if journal:
            subprocess.run(["journalctl", "--sync"], check=True)
        else:
            folder = os.path.join(r.dir, r.instance)
            file = os.path.join(folder, "t+x.log")
            await_change(folder, lambda: os.path.exists(file) and read_text(file).count("line 8") == 2)

        def rows(path):
            return [line.split("\t") for line in r.ctl("status", path).splitlines()]

        x = rows("/t/x")
        said = [value for key, value in x if key == "log"]
        x = dict(x)
        assert x["reason"] == "1 restart within 60 s was not enough; last end: exit code 7", x
        assert (x["exec"], x["ready"], x["restart"]) == (f"sh -c '{say}'", "exec", "permanent"), x
        assert x["next"] == "tractorctl logs /t/x", x
        if journal:
            assert len(said) == 10 and any("/t/x" in line for line in said), said
        else:
            assert [line.split(" ", 2)[2] for line in said] == [f"line {i}" for i in (7, 8, 1, 2, 3, 4, 5, 6, 7, 8)], said
        s = dict(rows("/t/s"))
        assert s["reason"] == "1 restart within 60 s was not enough; last end: gave up on /t/s/n", s
        assert s["next"] == "tractorctl status /t/s/n" and s["intensity.max_restarts"] == "0", s
        assert dict(rows("/t"))["next"].startswith("tractorctl status /t/"), rows("/t")
        n = dict(rows("/t/s/n"))
        assert n["reason"] == "no restart is allowed; last end: can't start: exec: No such file or directory", n
        for path, due in ("/t/s/n", {"exec"}), ("/t/away", {"stdout", "stderr"}), ("/t/y", {"output", "pid"}):
            keys = {key for key, _ in rows(path)}
            assert not {"log", "next"} & keys and due <= keys, keys
        y = r.json("status", "/t/y")
        assert y["exec"][1:] == ["hang"] and y["output"] and y["restart"] == "permanent", y
        if "pids" not in r.json("status")["controllers"].split():
            assert y["limits_skipped"] == ["TasksMax"], y
        assert not {"exec", "output"} & set(r.json("tree", "/t")["children"][0]), "only where it is asked for"


if __name__ == "__main__":
    for name, difference in KNOWN.items():
        print(f"known difference, not run: {name}: {difference}", file=sys.stderr)
    tests = [run_interrupted, run_interrupted_twice, run_ends_by_itself, run_waits_for_backoff, run_wrong_file,
             run_wrong_file_says_only_that, run_socket, run_bad_socket, run_says_once_what_happens, two_runs,
             environment_of_run, service_variables_pass_through_run, validate, load_unload, looking, events, changing,
             frozen_shows_its_state, spawn, set_limit, exit_codes, permission, errors_say_what_to_try, advice_is_good,
             status_says_why]
    main([t for t in tests if t.__name__ not in KNOWN or t.__name__ in sys.argv[1:]])
