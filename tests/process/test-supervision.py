#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Supervision with real processes: strategies, restart types, intensity, the ladder, dependencies, owner's death."""

import os
import shutil
import signal
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, expect_error, gone, kill, main, sleeper, tractor  # noqa: E402


def one_for_one(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[sleeper("a"), sleeper("b"), sleeper("c")])
        before = {n: t.pid(f"/t/{n}") for n in "abc"}
        kill(before["b"])
        died = events.wait(lambda e: e["path"] == "/t/b" and e.get("exit"))
        assert died["exit"]["signal"] == "SIGKILL" and died["exit"]["cause"] == "signal", died
        assert died["exit"]["oom"] is False
        events.state("/t/b", "ready")
        after = {n: t.pid(f"/t/{n}") for n in "abc"}
        assert after["a"] == before["a"] and after["c"] == before["c"] and after["b"] != before["b"]
        node = t.get("/t/b")
        assert node["generation"] == 2 and node["restarts"] == 1, node


def one_for_all(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(strategy="one_for_all", children=[sleeper("a"), sleeper("b"), sleeper("c")])
        before = {n: t.pid(f"/t/{n}") for n in "abc"}
        events.state("/t/c", "ready")
        kill(before["b"])
        order = []
        while len(order) < 3:
            order.append(events.wait(lambda e: e["event"] == "spawned")["path"])
        assert order == ["/t/a", "/t/b", "/t/c"], order
        events.state("/t/c", "ready")
        after = {n: t.pid(f"/t/{n}") for n in "abc"}
        assert all(after[n] != before[n] for n in "abc")
        assert t.get("/t/b")["restarts"] == 1


def rest_for_one(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(strategy="rest_for_one", children=[sleeper(n) for n in "abcd"])
        before = {n: t.pid(f"/t/{n}") for n in "abcd"}
        events.state("/t/d", "ready")
        kill(before["b"])
        order = []
        while len(order) < 3:
            order.append(events.wait(lambda e: e["event"] == "spawned")["path"])
        assert order == ["/t/b", "/t/c", "/t/d"], order
        events.state("/t/d", "ready")
        after = {n: t.pid(f"/t/{n}") for n in "abcd"}
        assert after["a"] == before["a"] and all(after[n] != before[n] for n in "bcd")


def restart_types(backend):
    with tractor(backend) as t:
        events = t.events()
        with tempfile.TemporaryDirectory() as d:
            flag = os.path.join(d, "second")
            once = f"test -e {flag} && exec sleep 1000; touch {flag}; exit 1"
            t.load(children=[
                {"name": "well", "exec": ["true"], "restart": "transient"},
                {"name": "badly", "exec": ["sh", "-c", once], "restart": "transient"},
                {"name": "never", "exec": ["false"], "restart": "temporary"},
            ])
            while True:
                nodes = {n: t.get(f"/t/{n}") for n in ("well", "badly", "never")}
                if (nodes["well"]["state"], nodes["never"]["state"]) == ("dead", "failed") and \
                        (nodes["badly"]["state"], nodes["badly"]["generation"]) == ("ready", 2):
                    break
                events.next()
        assert nodes["well"]["generation"] == 1 and nodes["well"]["exit"]["code"] == 0
        assert nodes["never"]["generation"] == 1 and nodes["never"]["exit"]["code"] == 1


def cannot_exec(backend):
    """Four attempts for intensity 3, then RestartLimit, and nothing is left of the tree."""
    with tractor(backend) as t:
        events = t.events()
        error = expect_error(-32014, t.load, intensity={"max_restarts": 3, "within_ms": 5000},
                             children=[{"name": "x", "exec": ["/nonexistent/program"]}, sleeper("y")])
        cause = error.data["causes"][0]
        assert cause["code"] == -32012 and cause["data"]["step"] == "exec" and cause["data"]["errno"] == 2, cause
        starts = [e for e in events.seen]
        while not any(e["event"] == "removed" and e["path"] == "/t" for e in events.seen):
            events.next()
        starts = [e for e in events.seen if e["event"] == "state" and e["path"] == "/t/x" and e["to"] == "starting"]
        assert len(starts) == 4, [s["generation"] for s in starts]
        gaps = [b["time_us"] - a["time_us"] for a, b in zip(starts, starts[1:])]
        assert gaps[1] >= 90_000 and gaps[2] >= 180_000, gaps  # initial 100 ms ± 10 %, then doubled
        gave_up = next(e for e in events.seen if e["event"] == "gave_up")
        assert (gave_up["path"], gave_up["about"]) == ("/t", "/t/x"), gave_up
        assert (gave_up["exit"]["cause"], gave_up["exit"]["step"]) == ("spawn", "exec"), gave_up
        why = ("3 restarts below /t within 5 s were not enough; "
               "last end: can't start: exec: No such file or directory")
        assert gave_up["reason"] == why, gave_up
        over = [e["reason"] for e in events.seen if e["event"] == "state" and e["to"] == "failed"]
        assert over[0] == why, over
        expect_error(-32004, t.get, "/t")


def spawn_that_cannot_exec(backend):
    """Who asked hears of it, and nobody else: also with an intensity of 0, and where one goes for all."""
    with tractor(backend) as t:
        for strategy in ("one_for_one", "one_for_all", "rest_for_one", "one_cancels_all"):
            t.load(strategy, strategy=strategy, intensity={"max_restarts": 0}, children=[sleeper("a")])
            before = t.pid(f"/{strategy}/a")
            error = expect_error(-32012, t.call, "actor.spawn", parent=f"/{strategy}", name="b", exec=["/nonexistent"])
            assert error.data["step"] == "exec", error.data
            node = t.get(f"/{strategy}")
            assert node["state"] == "ready" and node["restarts"] == 0, node
            assert [c["path"] for c in node["children"]] == [f"/{strategy}/a"], node
            assert t.pid(f"/{strategy}/a") == before


def isolate(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 2, "within_ms": 5000},
               children=[{"name": "x", "exec": ["sh", "-c", "exit 7"]}, sleeper("y")])
        y = t.pid("/t/y")
        events.state("/t/x", "failed")
        node = t.get("/t/x")
        assert node["exit"]["code"] == 7 and node["generation"] == 3, node
        assert node["reason"] == "2 restarts within 5 s were not enough; last end: exit code 7", node
        assert t.pid("/t/y") == y and t.get("/t")["state"] == "ready" and "reason" not in t.get("/t")


def why_given_up(backend):
    """Who was given up says why, and so does each supervisor that failed over it, until it starts again."""
    with tractor(backend) as t, tempfile.TemporaryDirectory() as d:
        go = os.path.join(d, "go")
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 1, "within_ms": 60000}, children=[
            {"name": "s", "intensity": {"max_restarts": 0}, "children": [
                {"name": "x", "exec": ["sh", "-c", f"test -e {go} && exec sleep 1000; kill -SEGV $$"],
                 "ready": {"command": ["test", "-e", go]}}]},
            {"name": "late", "exec": ["true"], "depends": ["s"], "restart": "temporary"}])
        events.state("/t/s", "failed")
        events.state("/t/late", "failed")
        reasons = {path: t.get(path).get("reason") for path in ("/t/s/x", "/t/s", "/t/late", "/t")}
        assert reasons["/t/s"] == "1 restart within 60 s was not enough; last end: gave up on /t/s/x", reasons
        assert reasons["/t/late"] == "what it depends on failed" and reasons["/t"] is None, reasons
        assert reasons["/t/s/x"] == "no restart is allowed; last end: SIGSEGV", reasons
        open(go, "w").close()
        t.call("actor.restart", path="/t/s")
        events.state("/t/s", "ready")
        assert [t.get(path).get("reason") for path in ("/t/s/x", "/t/s")] == [None, None]


def one_cancels_all(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(strategy="one_cancels_all",
               children=[sleeper("a"), {"name": "b", "exec": ["sh", "-c", "read x; exit 3"]}, sleeper("c")][:3:2] +
               [{"name": "b", "exec": [BAD_ACTOR, "after=300", "exit=3"]}])
        a, c = t.pid("/t/a"), t.pid("/t/c")
        events.state("/t", "failed")
        assert gone(a) and gone(c)
        assert t.get("/t/b")["exit"]["code"] == 3
        assert t.get("/t/a")["exit"]["cause"] == "stop"


def double_fork(backend):
    """A daemon that a child left is ended with it."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        pidfile = os.path.join(d, "pid")
        os.mkfifo(os.path.join(d, "ready"))
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, f"double-fork={pidfile}", f"touch={d}/done", "hang"],
                          "ready": {"file": f"{d}/done"}}])
        daemon = int(open(pidfile).read())
        os.kill(daemon, 0)
        t.call("actor.cancel", path="/t/x")
        assert gone(daemon)


def main_gone_rest_populated(backend):
    """The main process dies and leaves a daemon: the rest is ended first, then the child is restarted."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        events = t.events()
        pidfile = os.path.join(d, "pid")
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, f"double-fork={pidfile}", f"touch={d}/done", "hang"],
                          "ready": {"file": f"{d}/done"}}])
        daemon, pid = int(open(pidfile).read()), t.pid("/t/x")
        events.state("/t/x", "ready")
        kill(pid)
        assert gone(daemon)
        events.state("/t/x", "starting")
        events.state("/t/x", "ready")
        assert t.pid("/t/x") != pid


def background_is_hinted_at(backend):
    """Who detaches itself is told so; who is stopped and ends well, with children left, is not."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        events = t.events()
        t.load(children=[
            {"name": "daemon", "exec": [BAD_ACTOR, f"double-fork={d}/pid", "exit=0"], "restart": "transient"},
            {"name": "tidy", "exec": [BAD_ACTOR, "term-exit=0", "fork=1", f"touch={d}/up", "hang"],
             "ready": {"file": f"{d}/up"}}])
        events.state("/t/daemon", "dead")
        answer = t.call("actor.cancel", path="/t/tidy")
        assert answer["exit"]["code"] == 0 and answer["exit"]["cause"] == "stop", answer
        log = open(t.log_path).read()
        assert "/t/daemon: ended with code 0 and left processes" in log and "/t/tidy: ended with code 0" not in log


def ignores_term(backend):
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, "ignore-term", f"touch={d}/up", "hang"], "grace_ms": 200,
                          "ready": {"file": f"{d}/up"}}])
        pid = t.pid("/t/x")
        answer = t.call("actor.cancel", path="/t/x")
        assert answer["exit"]["signal"] == "SIGKILL" and answer["exit"]["cause"] == "stop", answer
        assert gone(pid)
        assert "did not end when asked to" in open(t.log_path).read()


def depends(backend):
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        events = t.events()
        t.load(children=[
            {"name": "api", "exec": ["sleep", "1000"], "depends": ["db", "migrate"]},
            {"name": "db", "exec": [BAD_ACTOR, "after=200", f"touch={d}/db", "hang"], "ready": {"file": f"{d}/db"}},
            {"name": "migrate", "exec": [BAD_ACTOR, "after=100"], "ready": "exited", "restart": "transient"},
        ])
        path = [(e["path"], e["to"]) for e in drain(events, "/t") if e["event"] == "state"]
        started = path.index(("/t/api", "starting"))
        assert started > path.index(("/t/db", "ready")), path
        assert started > path.index(("/t/migrate", "dead")), path
        t.call("tree.unload", path="/t")
        events.wait(lambda e: e["event"] == "removed" and e["path"] == "/t/api")
    # stop order is checked in stop_order


def drain(events, until):
    while not any(e["event"] == "state" and e["path"] == until and e["to"] == "ready" for e in events.seen):
        events.next()
    return events.seen


def stop_order(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[sleeper("db"), sleeper("api", depends=["db"]), sleeper("web", depends=["api"])])
        t.call("actor.cancel", path="/t")
        while not any(e["path"] == "/t" and e.get("to") == "dead" for e in events.seen):
            events.next()
        order = [(e["path"], e["to"]) for e in events.seen if e["event"] == "state" and e["to"] in ("stopping", "dead")]
        for first, then in (("/t/web", "/t/api"), ("/t/api", "/t/db")):
            assert order.index((first, "dead")) < order.index((then, "stopping")), order


def failed_dependency(backend):
    with tractor(backend) as t:
        expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000},
                     children=[{"name": "db", "exec": ["false"], "ready": "exited"}, sleeper("api", depends=["db"])])


def escalate_two_levels(backend):
    """The inner supervisor gives up, is restarted by the outer one, which gives up in the end."""
    with tractor(backend) as t:
        error = expect_error(
            -32014, t.load, intensity={"max_restarts": 1, "within_ms": 10000},
            children=[{"name": "in", "intensity": {"max_restarts": 1, "within_ms": 10000},
                       "children": [{"name": "x", "exec": ["false"], "ready": "exited"}]}])
        assert error.data["causes"], error.data


def start_timeout(backend):
    with tractor(backend) as t:
        error = expect_error(-32014, t.load, intensity={"max_restarts": 0, "within_ms": 1000},
                             children=[{"name": "x", "exec": ["sleep", "1000"], "start_timeout_ms": 200,
                                        "ready": {"file": "/nonexistent/file"}}])
        assert error.data["causes"][0]["data"]["exit"]["cause"] == "start-timeout", error.data


def watchdog(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, "notify-ready", "notify-watchdog=3", "hang"],
                          "ready": "notify", "watchdog_ms": 400}])
        ended = events.wait(lambda e: e["path"] == "/t/x" and e.get("exit"))
        assert ended["exit"]["cause"] == "watchdog", ended


def owner_killed(backend):
    """SIGKILL of whoever embeds it: the whole tree is gone within a second."""
    import time
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        from tractor import Tractor
        t = Tractor(backend)
        t.load(children=[{"name": "x", "exec": [BAD_ACTOR, "ignore-term", "hang"]}, sleeper("y")])
        pids = [t.pid("/t/x"), t.pid("/t/y"), t.status["pid"], t.status["keeper_pid"]]
        os.write(writer, " ".join(map(str, [t.dir, *pids])).encode())
        signal.pause()
    folder, *pids = os.read(reader, 500).decode().split()
    pids = list(map(int, pids))
    start = time.monotonic()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert all(gone(pid) for pid in pids)
    took = time.monotonic() - start
    shutil.rmtree(folder)
    print(f"   all gone after {took * 1000:.0f} ms", file=sys.stderr)


def significant(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(auto_shutdown="any_significant",
               children=[sleeper("a"), {"name": "job", "exec": [BAD_ACTOR, "after=100"], "restart": "transient",
                                        "significant": True}])
        events.state("/t", "dead")
        assert t.get("/t/a")["exit"]["cause"] == "stop"


if __name__ == "__main__":
    main([one_for_one, one_for_all, rest_for_one, restart_types, cannot_exec, spawn_that_cannot_exec, isolate, why_given_up, one_cancels_all,
          double_fork, main_gone_rest_populated, background_is_hinted_at, ignores_term, depends, stop_order, failed_dependency, escalate_two_levels,
          start_timeout, watchdog, owner_killed, significant])
