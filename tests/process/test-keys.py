#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every key of the tree file, one by one, by the effect that a stranger can observe; and every way to write one wrong.
Written from the documents alone."""

import contextlib
import os
import pwd
import resource
import select
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import (BAD_ACTOR, expect_error, gone, kill, main, read_text, sleeper, tractor)  # noqa: E402

JOB = {"ready": "exited", "restart": "transient"}


def bad(name, *actions, **keys):
    return {"name": name, "exec": [BAD_ACTOR, *actions], **keys}


class Probe:
    """Runs one-time jobs below /p, and gives what they wrote."""

    def __init__(self, t):
        self.t = t
        self.dir = os.path.join(t.dir, "probe")
        os.mkdir(self.dir)
        os.chmod(t.dir, 0o755)
        os.chmod(self.dir, 0o777)
        t.load(name="p", intensity={"max_restarts": 0, "within_ms": 1000}, on_give_up="isolate", children=[])
        self.events = t.events("/p")
        self.count = 0

    def run(self, *exec, **keys):
        self.count += 1
        out, name = os.path.join(self.dir, f"out{self.count}"), f"j{self.count}"
        self.t.call("actor.spawn", parent="/p", name=name, exec=list(exec),
                    **{"cwd": self.dir, "stdout": f"file:{out}", **JOB, **keys})
        end = self.events.state(f"/p/{name}", "dead", "failed")
        assert end["to"] == "dead", end
        with open(out) as f:
            return f.read()

    def sh(self, script, **keys):
        return self.run("/bin/sh", "-c", script, **keys).strip()

    def status(self, **keys):
        lines = self.run("/bin/cat", "/proc/self/status", **keys).splitlines()
        return {k: v.strip() for k, v in (line.split(":", 1) for line in lines)}


@contextlib.contextmanager
def probing(backend, **options):
    with tractor(backend, **options) as t:
        yield Probe(t)


# --- what is run ---------------------------------------------------------------------------------------------------

def exec_and_cwd(backend):
    with probing(backend, env={"PATH": os.environ["PATH"]}) as p:
        assert p.run("echo", "a b", "", "$HOME") == "a b  $HOME\n"
        assert p.sh("pwd") == p.dir
        script = os.path.join(p.dir, "here")
        with open(script, "w") as f:
            f.write("#!/bin/sh\necho from here\n")
        os.chmod(script, 0o755)
        assert p.run("./here") == "from here\n"
        assert p.run("here", env={"PATH": p.dir}) == "from here\n"
        assert p.run("here", env={"PATH": p.dir}, env_clear=True) == "from here\n"
        out = os.path.join(p.dir, "root")
        p.t.load(name="root", children=[{"name": "x", "exec": ["pwd"], "stdout": f"file:{out}", **JOB}])
        with open(out) as f:
            assert f.read() == "/\n"
        p.t.load(name="stdin", children=[{"name": "x", "exec": ["readlink", "/proc/self/fd/0"], "stdout": f"file:{out}",
                                          **JOB}])
        with open(out) as f:
            assert f.read() == "/\n/dev/null\n"  # appended


def env(backend):
    with probing(backend, env={"BLACK_BOX": "as it was", "OTHER": "kept"}) as p:
        def of(**keys):
            return dict(line.split("=", 1) for line in p.run("/usr/bin/env", **keys).splitlines())
        plain = of()
        assert plain["BLACK_BOX"] == "as it was" and plain["OTHER"] == "kept" and plain["PATH"] == os.environ["PATH"]
        for name in ("PATH", "ACTOR_ID", "GENERATION", "INSTANCE", "SOCKET"):
            assert f"TRACTOR_{name}" in plain, plain
        assert plain["TRACTOR_PATH"].startswith("/p/j") and plain["TRACTOR_GENERATION"] == "1", plain
        assert plain["TRACTOR_INSTANCE"] == p.t.status["instance"]
        assert "NOTIFY_SOCKET" not in plain and "TRACTOR_CHANNEL_FD" not in plain, plain
        more = of(env={"BLACK_BOX": "new", "EMPTY": "", "A": "b=c"})
        assert more["BLACK_BOX"] == "new" and more["EMPTY"] == "" and more["A"] == "b=c" and more["OTHER"] == "kept"
        clear = of(env={"A": "1"}, env_clear=True)
        assert clear["A"] == "1" and all(k == "A" or k.startswith("TRACTOR_") for k in clear), clear
        assert {k for k in clear if k != "A"} == {k for k in plain if k.startswith("TRACTOR_")}, clear
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(plain["TRACTOR_SOCKET"])


def umask(backend):
    with probing(backend) as p:
        assert p.sh("umask") in ("0022", "022")
        assert p.sh("umask; touch new; stat -c %a new", umask="077").split()[1] == "600"
        assert p.sh("umask", umask="0") in ("0000", "0")


# --- the process ---------------------------------------------------------------------------------------------------

def nice_affinity_oom(backend):
    with probing(backend) as p:
        assert p.run("nice", nice=5).strip() == "5"
        assert p.run("nice", nice=-3).strip() == "-3"
        assert p.sh("cat /proc/self/oom_score_adj", oom_score_adj=321) == "321"
        cpus = sorted(os.sched_getaffinity(0))
        assert p.status(cpu_affinity=[cpus[-1]])["Cpus_allowed_list"] == str(cpus[-1])
        assert p.status(cpu_affinity=str(cpus[0]))["Cpus_allowed_list"] == str(cpus[0])
        if cpus[:2] == [0, 1]:
            assert p.status(cpu_affinity="0-1")["Cpus_allowed_list"] == "0-1"


def rlimits(backend):
    with probing(backend) as p:
        assert p.sh("ulimit -Sn; ulimit -Hn", rlimits={"NOFILE": 123}).split() == ["123", "123"]
        assert p.sh("ulimit -Sn; ulimit -Hn", rlimits={"NOFILE": {"soft": 50, "hard": 60}}).split() == ["50", "60"]
        assert p.sh("ulimit -Ss; ulimit -c", rlimits={"CORE": 0, "STACK": {"soft": 1 << 20, "hard": 2 << 20}}).split() \
            == ["1024", "0"]
        assert p.sh("ulimit -Hc; ulimit -Sc", rlimits={"CORE": "infinity"}).split() == ["unlimited"] * 2
        assert p.sh("ulimit -n") == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def users(backend):
    with probing(backend) as p:
        www = pwd.getpwnam("www-data")
        ids = "id -u; id -g; id -G"
        assert p.sh(ids, user="www-data").split("\n") == [str(www.pw_uid), str(www.pw_gid), str(www.pw_gid)]
        got = p.sh(ids, user="www-data", supplementary_groups=["adm", 4711]).split("\n")
        assert got[:2] == [str(www.pw_uid), str(www.pw_gid)] and set(got[2].split()) == {str(www.pw_gid), "4", "4711"}, got
        assert p.sh(ids, user=12345).split("\n") == ["12345", "12345", "12345"]
        assert p.sh(ids, user="12345").split("\n") == ["12345", "12345", "12345"]
        assert p.sh(ids, user=12345, group="daemon").split("\n") == ["12345", "1", "1"]
        got = p.sh(ids, group="daemon").split("\n")
        assert got[:2] == ["0", "1"], got
        status = p.status(user="www-data")
        assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapAmb"], 16) == 0, status


def unknown_users(backend):
    """Each name that nobody has is a problem of its own, wherever the file or the child is given; nothing starts."""
    with tractor(backend) as t:
        deep = {"name": "deep", "children": [sleeper("x", user="no-user", group="no-group",
                                                     supplementary_groups=["adm", "no-team", 4711, "no-crew"])]}
        tree = {"tractor": 1, "name": "u", "children": [
            sleeper("good", user="www-data"), deep, sleeper("y", user=12345, group="no-group")]}
        there = "/children/1/children/0/"
        due = {there + "user": "no user is called no-user", there + "group": "no group is called no-group",
               there + "supplementary_groups/1": "no group is called no-team",
               there + "supplementary_groups/3": "no group is called no-crew",
               "/children/2/group": "no group is called no-group"}
        for method in ("tree.validate", "tree.load", "tree.apply"):
            error = expect_error(-32602, t.call, method, tree=tree)
            assert {p["pointer"]: p["message"] for p in error.data["problems"]} == due, error.data
            assert len(error.data["problems"]) == len(due) and there + "user: no user" in error.message, error.message
            assert t.get("/")["children"] == []
        tree["children"] = [sleeper("good", user="www-data", supplementary_groups=["adm"])]
        assert t.call("tree.validate", tree=tree) == {} and t.get("/")["children"] == []
        t.call("tree.load", tree=tree)
        pid = t.pid("/u/good")
        tree["children"] = [sleeper("good", user="no-user"), sleeper("y", group="no-group")]
        for extra in ({}, {"dry_run": True}):
            assert problems(t, tree, method="tree.apply", **extra) == ["/children/0/user", "/children/1/group"]
        error = expect_error(-32602, t.call, "actor.spawn", parent="/u", **deep["children"][0])
        assert sorted(p["pointer"] for p in error.data["problems"]) == [
            "/group", "/supplementary_groups/1", "/supplementary_groups/3", "/user"], error.data
        assert t.pid("/u/good") == pid and len(t.get("/u")["children"]) == 1


def capabilities(backend):
    with probing(backend) as p:
        for value, mask in (([], 0), (["CAP_CHOWN"], 1), (["chown", "NET_BIND_SERVICE"], 1 | 1 << 10)):
            if "chown" in value:
                value[0] = "CHOWN"
            status = p.status(capabilities=value)
            for kind in ("CapEff", "CapPrm", "CapBnd"):
                assert int(status[kind], 16) == mask, (value, kind, status[kind])
        status = p.status(capabilities=["CAP_NET_BIND_SERVICE"], user="www-data")
        assert int(status["CapEff"], 16) == 1 << 10 and status["Uid"].split()[0] == str(pwd.getpwnam("www-data").pw_uid)
        with open(f"/proc/{p.t.status['keeper_pid']}/status") as f:
            own = dict(line.split(":", 1) for line in f.read().splitlines())
        assert p.status()["CapEff"] == own["CapEff"].strip()


def privileges(backend):
    with probing(backend) as p:
        with open(f"/proc/{p.t.status['keeper_pid']}/status") as f:
            own = {k: v.strip() for k, v in (line.split(":", 1) for line in f.read().splitlines())}
        status = p.status()
        assert status["NoNewPrivs"] == "1" and status["Seccomp"] == own["Seccomp"], status
        assert p.status(no_new_privs=False)["NoNewPrivs"] == own["NoNewPrivs"]
        status = p.status(seccomp="default")
        assert status["Seccomp"] == "2" and int(status["Seccomp_filters"]) == int(own["Seccomp_filters"]) + 1, status
        assert p.sh("unshare --mount true 2>/dev/null || echo refused", seccomp="default") == "refused"
        call = "import ctypes; c = ctypes.CDLL(None, use_errno=True); c.personality.restype = ctypes.c_long; " \
               "print(c.mount(b'a', b'/nowhere', b'tmpfs', 0, None), ctypes.get_errno())"
        assert p.run("/usr/bin/python3", "-c", call, seccomp="default") == "-1 1\n"
        assert p.run("/usr/bin/python3", "-c", call) != "-1 1\n" or os.getuid() != 0
        assert p.status(seccomp="default", no_new_privs=False)["Seccomp"] == "2"


# --- output --------------------------------------------------------------------------------------------------------

def outputs(backend):
    with tractor(backend) as t:
        both = ["sh", "-c", "echo to-$0; echo err-$0 >&2; exec 3>&1; readlink /proc/self/fd/3 >&2"]
        err = os.path.join(t.dir, "err")
        t.load(children=[
            {"name": "n", "exec": [*both, "nul"], "stdout": "null", "stderr": f"file:{err}", **JOB},
            {"name": "i", "exec": [*both, "inherited"], "stdout": "inherit", "stderr": "inherit", **JOB},
            {"name": "r", "exec": ["sh", "-c", "echo relative"], "stdout": "file:rel", "stderr": "null", "cwd": t.dir, **JOB},
            {"name": "d", "exec": [*both, "by-default"], **JOB}])
        with open(err) as f:
            assert f.read() == "err-nul\n/dev/null\n"
        with open(os.path.join(t.dir, "rel")) as f:
            assert f.read() == "relative\n"
        with open(t.log_path, errors="replace") as f:
            log = f.read().splitlines()
        assert "to-inherited" in log and "err-inherited" in log, log
        if os.path.exists("/run/systemd/journal/socket"):
            subprocess.run(["journalctl", "--sync"], check=True)
            journal = subprocess.run(["journalctl", "-ocat"], capture_output=True, text=True).stdout.splitlines()
            assert "to-by-default" in journal and "err-by-default" in journal
        else:
            assert t.await_output("/t/d", lambda said: len(said) == 3 and said)
            said = t.output("/t/d")
            assert [line for stream, line in said if stream == "stdout"] == ["to-by-default"], said
            err = [line for stream, line in said if stream == "stderr"]
            assert err[0] == "err-by-default" and err[1].startswith("pipe:"), said


def streams_by_name(backend):
    """A program opens its own outputs by name, whoever it runs as."""
    if os.path.exists("/run/systemd/journal/socket"):
        return
    with tractor(backend) as t:
        t.load(children=[{"name": "x", "exec": ["sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr"], "user": "nobody",
                          **JOB}])
        t.await_output("/t/x", lambda said: sorted(said) == [("stderr", "err"), ("stdout", "out")])


def output_stays_bounded(backend):
    """At most 4 MiB an actor at any moment, however fast it writes: 200 MiB by turns to both streams."""
    if os.path.exists("/run/systemd/journal/socket"):
        return
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[])
        writer = os.pidfd_open(t.call("actor.spawn", parent="/t", name="x", exec=[BAD_ACTOR, f"flood={200 << 20}"],
                                      restart="temporary")["pid"])
        most = looks = 0
        while not select.select([writer], [], [], 0)[0]:
            sizes = []
            for name in os.listdir(t.output_folder):
                with contextlib.suppress(FileNotFoundError):
                    sizes.append(os.stat(os.path.join(t.output_folder, name)).st_size)
            most, looks = max(most, sum(sizes)), looks + 1
            assert all(size <= 2 << 20 for size in sizes) and sum(sizes) <= 4 << 20, sizes
        os.close(writer)
        assert events.state("/t/x", "dead", "failed")["to"] == "dead"
        assert most > 2 << 20 and looks > 20, (most, looks)
        assert set(os.listdir(t.output_folder)) <= {"t+x.log", "t+x.log.1"}  # one alone, just renamed


def last_words_of_stderr(backend):
    """The record of a crash has what was said to stderr, by this generation, and none of what was said to stdout."""
    if os.path.exists("/run/systemd/journal/socket"):
        return
    with tractor(backend) as t:
        events = t.events()
        script = "echo not this; echo but this $TRACTOR_GENERATION >&2; i=0; " \
                 "while [ $i -lt 100 ]; do echo nor this; i=$((i+1)); done; exit 3"
        t.load(intensity={"max_restarts": 1, "within_ms": 10000}, on_give_up="isolate",
               children=[{"name": "x", "exec": ["sh", "-c", script]}])
        events.state("/t/x", "failed")
        t.await_log("last words: but this 1")
        t.await_log("last words: but this 2")
        log = read_text(t.log_path)
        assert "words: not this" not in log and "words: nor this" not in log, log
        assert [line for stream, line in t.output("/t/x") if stream == "stderr"] == ["but this 1", "but this 2"]


# --- stop, start, restart ------------------------------------------------------------------------------------------

def stop_signal(backend):
    with probing(backend) as p:
        for value, number in (("SIGINT", 2), ("USR1", 10), ("SIGRTMIN+1", signal.SIGRTMIN + 1), (12, 12)):
            out = os.path.join(p.dir, f"got{number}")
            p.t.load(name="s", children=[{
                "name": "x", "cwd": p.dir, "stop_signal": value, "ready": {"file": f"up{number}"},
                "exec": ["sh", "-c", f"trap 'echo {number} > {out}; exit 3' {number}; touch up{number}; "
                                     "while :; do sleep 0.05; done"]}])
            result = p.t.call("actor.cancel", path="/s/x")
            assert result["exit"]["cause"] == "stop" and result["exit"]["code"] == 3, (value, result)
            with open(out) as f:
                assert f.read().strip() == str(number)
            p.t.call("tree.unload", path="/s")


def grace_ms(backend):
    with tractor(backend) as t:
        deaf = ["ignore-term", "notify-ready", "hang"]
        t.load(children=[bad("x", *deaf, ready="notify", grace_ms=300), bad("y", *deaf, ready="notify", grace_ms=60000),
                         bad("z", *deaf, ready="notify", grace_ms=0, stop_signal="SIGINT")])
        for path, params, least, most in (("/t/x", {}, 0.29, 2.5), ("/t/y", {"grace_ms": 100}, 0.09, 2.5),
                                          ("/t/z", {}, 1.4, 2.5)):
            start = time.monotonic()
            t.call("actor.cancel", path=path, **params)
            assert least < time.monotonic() - start < most, (path, time.monotonic() - start)


def start_timeout_ms(backend):
    with tractor(backend) as t:
        start = time.monotonic()
        error = expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000}, children=[
            bad("x", "ignore-term", "hang", ready="notify", start_timeout_ms=200), sleeper("y")])
        assert 0.19 < time.monotonic() - start < 4
        cause = error.data["causes"][0]
        assert cause["data"]["exit"]["cause"] == "start-timeout" and cause["data"]["actor"] == "/t/x", cause
        assert t.get("/")["children"] == []
        error = expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000}, children=[
            bad("x", "hang", ready="exited", restart="transient", start_timeout_ms=200)])
        assert error.data["causes"][0]["data"]["exit"]["cause"] == "start-timeout"


def watchdog_ms(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 0, "within_ms": 1000}, children=[
            bad("x", "notify-ready", "notify-watchdog=2", "hang", ready="notify", watchdog_ms=300), sleeper("y")])
        end = events.state("/t/x", "failed")
        assert end["exit"]["cause"] == "watchdog", end


def ready_kinds(backend):
    with tractor(backend) as t:
        sock, file, stale = (os.path.join(t.dir, n) for n in ("s", "f", "stale"))
        with open(stale, "w"):
            pass
        t.load(children=[
            bad("exec", "hang"), bad("exited", "exit=0", **JOB), bad("notify", "notify-ready=50", "hang", ready="notify"),
            bad("socket", "after=50", f"listen={sock}", "hang", ready={"socket": sock}),
            bad("file", "after=50", f"touch={file}", "hang", ready={"file": file}),
            bad("command", "hang", ready={"command": ["test", "-e", file], "interval_ms": 20})])
        assert {c["path"]: c["state"] for c in t.get("/t")["children"]} == {
            f"/t/{n}": "dead" if n == "exited" else "ready"
            for n in ("exec", "exited", "notify", "socket", "file", "command")}
        for name, child in (("exited", bad("x", "exit=1", **JOB)),
                            ("stale", bad("x", "hang", ready={"file": stale}, start_timeout_ms=200)),
                            ("command", bad("x", "hang", ready={"command": ["false"], "interval_ms": 20},
                                            start_timeout_ms=200))):
            expect_error(-32014, t.load, name=name, intensity={"max_restarts": 0, "within_ms": 1}, children=[child])
        kill(t.pid("/t/file"))  # the file of the first generation does not make the second one ready
        events = t.events()
        while t.get("/t/file")["state"] != "ready" or t.get("/t/file")["generation"] != 2:
            events.next()


def backoff(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 5, "within_ms": 60000}, children=[
            bad("x", "exit=1", backoff={"initial_ms": 50, "factor": 3, "max_ms": 200, "jitter": 0})])
        said, waits = [], []
        while not said or said[-1]["to"] != "failed":
            said.append(events.wait(lambda e: e["event"] == "state" and e["path"] == "/t/x"))
        for before, after in zip(said, said[1:]):
            if after["to"] == "starting" and after["generation"] > 1:
                waits.append((after["time_us"] - before["time_us"]) / 1000 if before["to"] == "backoff" else None)
        begun = [e["time_us"] / 1000 for e in said if e["to"] == "starting"]
        assert len(begun) == 6 and len(waits) == 5 and waits[0] is None, (begun, waits)  # the first one at once
        # Counted from the end, which comes after the start and before we hear of it; 450 and 1350 are uncapped.
        for wait, since, due in zip(waits[1:], (b - a for a, b in zip(begun[1:], begun[2:])), (50, 150, 200, 200)):
            assert since >= due and wait < due + 1000, (waits, begun)


def depends_absolute(backend):
    with tractor(backend) as t:
        first = os.path.join(t.dir, "first")
        t.load(name="base", children=[bad("db", "hang")])
        t.load(name="t", children=[
            {"name": "web", "children": [bad("api", f"report-start={first}", "notify-ready", "hang", ready="notify",
                                             depends=["/t/db", "/base/db"])]},
            bad("db", "after=100", f"report-start={first}", "notify-ready", "hang", ready="notify")])
        with open(first) as f:
            assert [int(line.split()[1]) for line in f] == [t.pid("/t/db"), t.pid("/t/web/api")]
        error = expect_error(-32602, t.load, name="u", children=[sleeper("a", depends=["/nowhere/db"])])
        assert "/u/a" in error.message and "/nowhere/db" in error.message, error.message
        api = t.pid("/t/web/api")
        kill(t.pid("/t/db"))
        events = t.events()
        while t.get("/t/db")["state"] != "ready" or t.get("/t/db")["generation"] != 2:
            events.next()
        assert t.pid("/t/web/api") == api


def significant(backend):
    for how, first, last in (("any_significant", "dead", None), ("all_significant", "ready", "dead"), (None, "ready", "ready")):
        with tractor(backend) as t:
            events = t.events()
            t.load(**({"auto_shutdown": how} if how else {}), children=[
                sleeper("keep"), sleeper("a", restart="temporary", significant=True),
                sleeper("b", restart="temporary", significant=True), sleeper("c", restart="temporary")])
            pids = {n: t.pid(f"/t/{n}") for n in ("keep", "a", "b", "c")}
            for name, due in (("c", "ready"), ("a", first), ("b", last)):
                if due is None:
                    break
                kill(pids[name], signal.SIGTERM)
                if due == "dead":
                    events.wait(lambda e: e["path"] == "/t" and e.get("to") in ("dead", "failed"), "the end of /t")
                    assert gone(pids["keep"]) and t.get("/t/keep")["exit"]["cause"] == "stop"
                else:
                    events.state(f"/t/{name}", "dead", "failed")
                    t.call("supervisor.ping")
                    assert t.get("/t", depth=0)["state"] == due, (how, name)


def on_give_up(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(name="iso", on_give_up="isolate", intensity={"max_restarts": 1, "within_ms": 9000},
               children=[bad("x", "after=20", "exit=4"), sleeper("y")])
        keep = t.pid("/iso/y")
        end = events.state("/iso/x", "failed")
        assert end["exit"]["code"] == 4 and end["generation"] == 2, end
        assert t.pid("/iso/y") == keep and t.get("/iso", depth=0)["state"] == "ready"
        t.call("actor.restart", path="/iso/x")
        events.state("/iso/x", "failed")
        t.load(name="esc", intensity={"max_restarts": 1, "within_ms": 9000}, children=[
            {"name": "in", "intensity": {"max_restarts": 1, "within_ms": 9000}, "children": [
                bad("x", "after=20", "exit=4"), sleeper("y")]}, sleeper("z")])
        z = t.pid("/esc/z")
        end = events.state("/esc", "failed")
        assert end["exit"]["code"] == 4, end
        assert gone(z) and t.get("/esc/in", depth=0)["restarts"] == 1


def description(backend):
    with tractor(backend) as t:
        t.load(description="Ein Satz für Menschen", children=[sleeper("x", description="d" * 1024), sleeper("y")])
        assert t.get("/t")["description"] == "Ein Satz für Menschen" and t.get("/t/x")["description"] == "d" * 1024
        assert not t.get("/t/y").get("description")


def labels(backend):
    """They are for programs that read the tree."""
    with tractor(backend) as t:
        t.load(labels={"a": "b", "ü": ""}, children=[sleeper("x", labels={"tier": "front"})])
        assert t.get("/t", depth=0)["labels"] == {"a": "b", "ü": ""}
        assert t.get("/t/x")["labels"] == {"tier": "front"}


def limits(backend):
    with tractor(backend) as t:
        controllers = t.status["controllers"].split()
        values = {"MemoryMax": "512M", "MemoryHigh": "1.5G", "MemoryLow": "1M", "MemorySwapMax": "0", "CPUQuota": "150%",
                  "CPUWeight": 200, "AllowedCPUs": "0", "TasksMax": 256, "IOWeight": 50}
        needs = {"Memory": "memory", "CPU": "cpu", "Allowed": "cpuset", "Tasks": "pids", "IO": "io"}
        for name, value in values.items():
            controller = next(c for prefix, c in needs.items() if name.startswith(prefix))
            if controller in controllers:
                t.load(children=[sleeper("x", limits={name: value})])
                t.call("tree.unload", path="/t")
                continue
            for tree in ({"children": [sleeper("x", limits={name: value})]}, {"children": [], "limits": {name: value}}):
                error = expect_error(-32010, t.load, **tree)
                assert name in error.message and "/t" in error.message, error.message
                assert t.get("/")["children"] == []
            t.load(children=[sleeper("x", limits={name: value}, limits_optional=True)])
            error = expect_error(-32010, t.call, "actor.set_limits", path="/t/x", limits={name: value})
            assert name in error.message, error.message
            t.call("tree.unload", path="/t")
        t.load(limits={"MemoryMax": "512M"}, limits_optional=True, children=[])



# --- wrong files ---------------------------------------------------------------------------------------------------

WRONG_CHILD = [  # the keys of a child, and where the problem is below it
    ({"exec": "sleep"}, "/exec"), ({"exec": []}, "/exec"), ({"exec": ["./here"]}, "/exec/0"),
    ({"exec": ["/a", 1]}, "/exec/1"), ({"cwd": "here"}, "/cwd"), ({"cwd": 1}, "/cwd"), ({"env": []}, "/env"),
    ({"env": {"A": 1}}, "/env/A"), ({"env": {"TRACTOR_A": "1"}}, "/env/TRACTOR_A"),
    ({"env": {"A/B~": 1}}, "/env/A~1B~0"), ({"env_clear": "no"}, "/env_clear"), ({"umask": 22}, "/umask"),
    ({"umask": "8"}, "/umask"), ({"restart": "always"}, "/restart"), ({"restart": None}, "/restart"),
    ({"ready": "soon"}, "/ready"), ({"ready": {}}, "/ready"), ({"ready": {"socket": 1}}, "/ready/socket"),
    ({"ready": {"socket": "/a", "file": "/b"}}, "/ready"),
    ({"ready": {"command": ["/a"], "interval_ms": 1}}, "/ready/interval_ms"),
    ({"ready": {"file": "relative"}}, "/ready/file"), ({"ready": "channel"}, "/ready"),
    ({"start_timeout_ms": 0}, "/start_timeout_ms"), ({"start_timeout_ms": "1"}, "/start_timeout_ms"),
    ({"stop_signal": "SIGNAL"}, "/stop_signal"), ({"stop_signal": 0}, "/stop_signal"),
    ({"grace_ms": -1}, "/grace_ms"), ({"grace_ms": 1.5}, "/grace_ms"), ({"backoff": 5}, "/backoff"),
    ({"backoff": {"factor": 101}}, "/backoff/factor"), ({"backoff": {"jitter": 1.5}}, "/backoff/jitter"),
    ({"backoff": {"initial": 1}}, "/backoff/initial"), ({"depends": "x"}, "/depends"),
    ({"depends": ["nobody"]}, "/depends/0"), ({"depends": ["x"]}, "/depends/0"),
    ({"depends": ["/v"]}, "/depends/0"), ({"watchdog_ms": "1"}, "/watchdog_ms"),
    ({"channel": "pipe"}, "/channel"), ({"stdout": "tape"}, "/stdout"), ({"channel": "stdio", "stdout": "inherit"}, "/stdout"),
    ({"stderr": 2}, "/stderr"),
    ({"stdout": "file:relative"}, "/stdout"), ({"limits": {"Memory": 1}}, "/limits/Memory"),
    ({"limits": {"MemoryMax": "much"}}, "/limits/MemoryMax"),
    ({"limits": {"TasksMax": "50%"}}, "/limits/TasksMax"), ({"limits": {"CPUWeight": 0}}, "/limits/CPUWeight"),
    ({"limits_optional": 1}, "/limits_optional"), ({"rlimits": {"FILES": 1}}, "/rlimits/FILES"),
    ({"rlimits": {"NOFILE": "many"}}, "/rlimits/NOFILE"), ({"nice": 20}, "/nice"), ({"nice": "5"}, "/nice"),
    ({"cpu_affinity": "x"}, "/cpu_affinity"), ({"cpu_affinity": ["0"]}, "/cpu_affinity/0"),
    ({"oom_score_adj": 1001}, "/oom_score_adj"), ({"user": True}, "/user"), ({"group": []}, "/group"),
    ({"supplementary_groups": "adm"}, "/supplementary_groups"), ({"capabilities": ["FLY"]}, "/capabilities/0"),
    ({"no_new_privs": "yes"}, "/no_new_privs"), ({"seccomp": "strict"}, "/seccomp"),
    ({"significant": 1}, "/significant"), ({"description": 1}, "/description"),
    ({"description": "x" * 1025}, "/description"), ({"labels": {"a": 1}}, "/labels/a"),
    ({"name": "a b"}, "/name"), ({"name": ".a"}, "/name"), ({"name": "a" * 65}, "/name"),
    ({"tractor": 1}, "/tractor"), ({"strategy": "one_for_one"}, "/strategy"), ({"Exec": 1}, "/Exec"),
    ({"a/b~c": 1}, "/a~1b~0c"), ({"children": []}, "/children"),
]
WRONG_TREE = [
    ({"strategy": "all"}, "/strategy"), ({"strategy": 1}, "/strategy"), ({"intensity": 5}, "/intensity"),
    ({"intensity": {"max_restarts": -1}}, "/intensity/max_restarts"),
    ({"intensity": {"within_ms": 0}}, "/intensity/within_ms"), ({"intensity": {"max": 0}}, "/intensity/max"),
    ({"on_give_up": "cry"}, "/on_give_up"), ({"auto_shutdown": True}, "/auto_shutdown"),
    ({"significant": True}, "/significant"), ({"depends": []}, "/depends"),
    ({"restart": "permanent"}, "/restart"), ({"children": {}}, "/children"), ({"children": [1]}, "/children/0"),
    ({"tractor": 2}, "/tractor"), ({"tractor": "1"}, "/tractor"), ({"name": ""}, "/name"),
    ({"labels": "a"}, "/labels"), ({"limits": []}, "/limits"), ({"frob": 1}, "/frob"),
    ({"children": [{"name": "x"}]}, "/children/0"), ({"children": [{"exec": ["/a"]}]}, "/children/0"),
    ({"children": [sleeper("x"), sleeper("x")]}, "/children/1/name"),
    ({"children": [sleeper("a", depends=["b"]), sleeper("b", depends=["a"])]}, "/children/1/depends/0"),
    ({"strategy": "one_cancels_all", "children": [sleeper("x", restart="permanent")]}, "/children/0/restart"),
]


def problems(t, tree, code=-32602, method="tree.validate", **extra):
    error = expect_error(code, t.call, method, tree=tree, **extra)
    for problem in error.data["problems"]:
        assert set(problem) == {"pointer", "message"} and problem["message"], problem
    return sorted(p["pointer"] for p in error.data["problems"])


def wrong_values(backend):
    with tractor(backend) as t:
        base = {"tractor": 1, "name": "v", "children": []}
        t.call("tree.validate", tree=base)
        for keys, pointer in WRONG_CHILD:
            got = problems(t, {**base, "children": [sleeper("x") | keys]})
            assert got == ["/children/0" + pointer], (keys, got)
        for keys, pointer in WRONG_TREE:
            assert problems(t, {**base, **keys}) == [pointer], (keys, problems(t, {**base, **keys}))
        assert problems(t, {}) == ["", "", ""]
        expect_error(-32602, t.call, "tree.validate", tree=[])
        expect_error(-32602, t.call, "tree.validate")


def all_problems_at_once(backend):
    with tractor(backend) as t:
        children, due = [], []
        for keys, pointer in WRONG_CHILD:
            if "name" in keys or keys.get("depends") in (["x"], ["/v"]):
                continue
            due.append(f"/children/{len(children)}{pointer}")
            children.append(sleeper(f"x{len(children)}") | keys)
        tree = {"tractor": 1, "name": "v", "strategy": 1, "frob": 1, "children": [*children, sleeper("good")]}
        for method in ("tree.validate", "tree.load"):
            assert problems(t, tree, method=method) == sorted(["/strategy", "/frob", *due])
        assert t.get("/")["children"] == [] and "/v/good" not in open(t.log_path).read()
        many = {"tractor": 1, "name": "v", "children": [{"name": f"x{i}", "exec": 1} for i in range(3000)]}
        assert 1000 <= len(problems(t, many)) <= 1026


def not_built_by_name(backend):
    with tractor(backend) as t:
        for key, value in (("pool", {"size": 4}), ("cgroups", "delegated"), ("debug", True),
                           ("paths", {}), ("ready", {"log": "up"}),
                           ("seccomp", "/etc/profile.json")):
            for method in ("tree.validate", "tree.load"):
                tree = {"tractor": 1, "name": "v", "children": [sleeper("good"), sleeper("x", **{key: value})]}
                error = expect_error(-32010, t.call, method, tree=tree)
                assert key in error.message, error.message
                assert error.data["problems"][0]["pointer"].startswith(f"/children/1/{key}"), error.data
            t.load(name="s", children=[])
            assert key in expect_error(-32010, t.call, "actor.spawn", parent="/s", name="x", exec=["sleep", "1"],
                                       **{key: value}).message
            t.call("tree.unload", path="/s")
        assert "debug" in expect_error(-32010, t.load, children=[], debug=True).message
        tree = {"tractor": 1, "name": "v", "frob": 1, "children": [sleeper("x", pool={})]}
        assert problems(t, tree) == ["/children/0/pool", "/frob"]
        assert t.get("/")["children"] == []


if __name__ == "__main__":
    main([exec_and_cwd, env, umask, nice_affinity_oom, rlimits, users, capabilities, privileges, outputs, streams_by_name,
          output_stays_bounded, last_words_of_stderr, stop_signal, grace_ms, start_timeout_ms, watchdog_ms, ready_kinds,
          backoff, depends_absolute, significant, on_give_up, description, labels, limits, unknown_users, wrong_values,
          all_problems_at_once, not_built_by_name])
