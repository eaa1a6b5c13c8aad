#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The behaviour that tractor promises, scenario by scenario, from outside: what a supervised tree does when its programs
end, fail, hide or refuse to go, and what the control socket tells of it. Written from the documents alone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import (BAD_ACTOR, LIMIT, Connection, Events, expect_error, gone, kill, main, program, sleeper,  # noqa: E402
                     survivors, tractor)

# What differs from the documents, by test: printed, and not run.
KNOWN = {
}

CTL = program("tractorctl")


def bad(name, *actions, **keys):
    return {"name": name, "exec": [BAD_ACTOR, *actions], **keys}


def state(t, path):
    return t.get(path, depth=0)["state"]


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def number_in(path):
    with open(path) as f:
        return int(f.read())


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def run(tree, backend, **options):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        file, sock = os.path.join(folder, "tree.json"), os.path.join(folder, "sock")
        with open(file, "w") as f:
            json.dump({"tractor": 1, **tree}, f)
        process = subprocess.Popen([CTL, "run", file, "--socket", sock, f"--backend={backend}"],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=dict(os.environ, STATE_DIRECTORY=folder), **options)
        try:
            yield process, sock
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate()


# 19: SIGKILL of the owner process: its whole subtree is gone within 1 s.
def owner_killed(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        daemon = os.path.join(folder, "daemon")
        children = [sleeper("a"), bad("stubborn", "ignore-term", "fork=3", "notify-ready", "hang", ready="notify"),
                    {"name": "deep", "children": [bad("b", "ignore-term", "hang"), sleeper("c")]}]
        if backend != "process":  # which has nothing that holds a daemon when the keeper has no time to look for it
            children.append(bad("d", f"double-fork={daemon}", "hang", ready={"command": ["test", "-s", daemon]}))
        with run({"name": "owned", "children": children}, backend) as (process, sock):
            assert process.stdout.readline()  # it listens before its tree loads, and then has something to say
            events, ask = Events(sock), Connection(sock)
            while not any(n["state"] == "ready" for n in ask.call("tree.get", depth=1)["children"]):
                events.next()
            status = ask.call("supervisor.status")
            watched = [n["pid"] for n in nodes(ask.call("tree.get")) if "pid" in n]
            watched += [status["pid"], status["keeper_pid"]]
            watched += [number_in(daemon)] if backend != "process" else []
            assert len(watched) >= 6, watched
            watched += [pid for pid, _ in survivors(status["instance"])]  # what the actors forked
            start = time.monotonic()
            process.kill()
            for pid in watched:
                assert gone(pid), pid
            took = time.monotonic() - start
            assert survivors(status["instance"]) == []
            assert took < 1, f"{took:.3f} s"
            events.close()
            ask.close()


def nodes(node):
    yield node
    for child in node.get("children", ()):
        yield from nodes(child)


# 20: a process in a grandchild that does not react; the root fails: the ladder ends it, the root's error is reported.
def blocked_grandchild(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(strategy="one_cancels_all", children=[
            {"name": "mid", "children": [
                {"name": "low", "children": [bad("blocked", "ignore-term", "notify-ready", "hang", ready="notify",
                                                             grace_ms=200)]}]},
            sleeper("root")])
        pid = t.pid("/t/mid/low/blocked")
        kill(t.pid("/t/root"), signal.SIGSEGV)
        end = events.state("/t", "failed")
        assert end["exit"]["signal"] in ("SIGSEGV", signal.SIGSEGV) and end["exit"]["cause"] == "signal", end
        assert not alive(pid)
        blocked = t.get("/t/mid/low/blocked")
        assert blocked["state"] == "dead" and blocked["exit"]["cause"] == "stop", blocked
        assert blocked["exit"]["signal"] in ("SIGKILL", 9), blocked
        assert not blocked["exit"]["oom"]


def blocked_grandchild_in_run(backend):
    tree = {"name": "gone", "strategy": "one_cancels_all", "children": [
        {"name": "mid", "children": [bad("blocked", "ignore-term", "notify-ready", "hang", ready="notify",
                                                             grace_ms=200)]},
        bad("root", "after=200", "exit=7")]}
    with run(tree, backend) as (process, _):
        out, err = process.communicate(timeout=LIMIT)
        assert process.returncode == 1, (process.returncode, out, err)
        last = [line for line in err.splitlines() if line.startswith("tractorctl: ")]
        assert len(last) == 1 and "7" in last[0] and "/gone" in last[0], err


# 21: kill -9 of a permanent child.
def strategies(backend):
    due = {"one_for_one": {"b"}, "one_for_all": {"a", "b", "c"}, "rest_for_one": {"b", "c"}}
    for strategy, restarted in due.items():
        with tractor(backend) as t:
            events = t.events()
            t.load(strategy=strategy, children=[sleeper("a"), sleeper("b"), sleeper("c")])
            before = {n: t.get(f"/t/{n}") for n in "abc"}
            kill(before["b"]["pid"])
            order = []
            events.seen.clear()
            while set(order) != restarted:
                item = events.next()
                if item["event"] == "state" and item["to"] == "ready" and item["path"][3:] in "abc" \
                        and item["generation"] == 2:
                    order.append(item["path"][3:])
            assert order == sorted(restarted), order
            while state(t, "/t") != "ready":
                events.next()
            for name in "abc":
                node = t.get(f"/t/{name}")
                assert (node["pid"] != before[name]["pid"]) == (name in restarted), (strategy, name)
                assert (node["id"] != before[name]["id"]) == (name in restarted), (strategy, name)
                assert node["generation"] == (2 if name in restarted else 1), node


def stops_in_reverse(backend):
    """The stops of one_for_all are in reverse order, each after the end of the one before it."""
    with tractor(backend) as t:
        events = t.events()
        t.load(strategy="one_for_all", children=[sleeper(n) for n in "abcd"])
        kill(t.pid("/t/b"))
        ended = []
        while len(ended) < 4:
            item = events.next()
            if item["event"] == "exited":
                ended.append(item["path"])
        assert ended == ["/t/b", "/t/d", "/t/c", "/t/a"], ended


# 22
def restart_types(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[bad("ok", "after=50", restart="transient"), bad("tmp", "after=50", "exit=3", restart="temporary"),
                         bad("tmp9", "after=50", "crash=9", restart="temporary"), sleeper("keep")])
        assert events.state("/t/ok", "dead", "starting")["to"] in ("dead", "starting")
        for name, due in (("ok", "dead"), ("tmp", "failed"), ("tmp9", "failed")):
            while t.get(f"/t/{name}")["state"] not in ("dead", "failed"):
                events.next()
            node = t.get(f"/t/{name}")
            assert node["generation"] == 1 and node["restarts"] == 0 and "pid" not in node, node
            if name == "ok":
                assert node["state"] == "dead" and node["exit"]["code"] == 0, node
        t.call("tree.unload", path="/t")
        t.load(on_give_up="isolate", intensity={"max_restarts": 1, "within_ms": 60000}, children=[
            bad("fails", "after=20", "exit=1", restart="transient"), sleeper("keep")])
        events.wait(lambda e: e["path"] == "/t/fails" and e.get("to") == "failed", "the end of /t/fails")
        assert t.get("/t/fails")["generation"] == 2


# 23: four attempts with backoff, then RestartLimit up the tree; the CPU stays idle.
def cannot_exec(backend):
    with tractor(backend) as t:
        events = t.events()
        before = cpu_seconds(t.status["pid"]) + cpu_seconds(t.status["keeper_pid"])
        error = expect_error(-32014, t.load, children=[
            {"name": "up", "intensity": {"max_restarts": 0, "within_ms": 5000}, "children": [
                {"name": "mid", "intensity": {"max_restarts": 3, "within_ms": 5000}, "children": [
                    {"name": "x", "exec": ["/nonexistent/program"]}]}]}], intensity={"max_restarts": 0, "within_ms": 5000})
        used = cpu_seconds(t.status["pid"]) + cpu_seconds(t.status["keeper_pid"]) - before
        assert used < 0.5, f"{used} s of CPU"
        assert error.data["type"] == "RestartLimit" and "/t" in error.message, error.message
        types, causes = [], error.data["causes"]
        while causes:
            types.append(causes[0]["data"]["type"])
            last, causes = causes[0], causes[0]["data"].get("causes")
        assert types[-1] == "SpawnFailed" and set(types[:-1]) <= {"RestartLimit"}, types
        assert last["code"] == -32012 and last["data"]["step"] == "exec" and last["data"]["errno"] == 2, last
        assert last["data"]["actor"] == "/t/up/mid/x", last
        starts, ends = [], []
        while True:
            item = events.next()
            if item["path"] == "/t" and item["event"] == "removed":
                break
            if item["path"] == "/t/up/mid/x" and item["event"] == "exited":
                ends.append(item["time_us"])
            if item["path"] == "/t/up/mid/x" and item["event"] == "state" and item["to"] == "starting":
                starts.append(item["time_us"])
        assert len(starts) == len(ends) == 4, (starts, ends)
        assert starts[1] - ends[0] < 90000, (starts, ends)
        waits = [(b - a) / 1000 for a, b in zip(starts, starts[1:])]
        assert waits[1] >= 90 and waits[2] >= 180, waits
        assert t.get("/")["children"] == []


# 24
def daemon_stopped_too(backend):
    with tractor(backend) as t:
        for how in ("cancel", "unload", "restart"):
            file = os.path.join(t.dir, how)
            t.load(children=[bad("x", f"double-fork={file}", "hang",
                                ready={"command": ["test", "-s", file], "interval_ms": 20})])
            daemon = number_in(file)
            assert alive(daemon)
            if how == "unload":
                t.call("tree.unload", path="/t")
            else:
                t.call(f"actor.{how}", path="/t/x")
            assert not alive(daemon), f"{how}: the daemon lives"
            if how != "unload":
                t.call("tree.unload", path="/t")


# 25: the log names the step that ended it.
def ignores_term(backend):
    with tractor(backend) as t:
        t.load(children=[bad("x", "ignore-term", "notify-ready", "hang", ready="notify", grace_ms=200),
                         bad("y", "term-exit=0", "notify-ready", "hang", ready="notify")])
        pid = t.pid("/t/x")
        start = time.monotonic()
        result = t.call("actor.cancel", path="/t/x", reason="enough")
        took = time.monotonic() - start
        assert 0.19 < took < 2.5, took
        assert not alive(pid)
        assert result["exit"]["cause"] == "stop" and result["exit"]["signal"] in ("SIGKILL", 9), result
        t.call("actor.cancel", path="/t/y")
        if not os.path.exists("/run/systemd/journal/socket"):
            with open(t.log_path, errors="replace") as f:
                lines = f.read().splitlines()
            assert any("/t/x" in line and "kill" in line.lower() for line in lines), lines
            assert not any("/t/y" in line and "kill" in line.lower() for line in lines), lines


def journal_names_the_step(backend):
    """The same where the log is the journal."""
    if not os.path.exists("/run/systemd/journal/socket"):
        return
    with tractor(backend) as t:
        t.load(children=[bad("x", "ignore-term", "notify-ready", "hang", ready="notify", grace_ms=200)])
        actor = t.get("/t/x")["id"]
        t.call("actor.cancel", path="/t/x")
        subprocess.run(["journalctl", "--sync"], check=True)
        log = subprocess.run(["journalctl", "-ocat", f"TRACTOR_ACTOR_ID={actor}"], capture_output=True, text=True).stdout
        assert "kill" in log.lower(), log


# 26
def depends_and_readiness(backend):
    with tractor(backend) as t:
        events = t.events()
        ready = os.path.join(t.dir, "ready")
        t.load(children=[sleeper("c", depends=["b"]), sleeper("b", depends=["a"]),
                         bad("a", "after=200", f"touch={ready}", "hang", ready={"file": ready})])
        first = {}
        while "c" not in first:
            item = events.next()
            if item["event"] == "state" and item["to"] in ("starting", "ready") and len(item["path"]) == 4:
                first.setdefault(item["path"][3:] if item["to"] == "starting" else item["path"][3:] + "!", item["seq"])
        assert first["a"] < first["a!"] < first["b"] < first["b!"] < first["c"], first
        t.call("tree.unload", path="/t")
        ended = []
        while len(ended) < 3:
            item = events.next()
            if item["event"] == "exited":
                ended.append(item["path"][3:])
        assert ended == ["c", "b", "a"], ended


# 27
def apply_restarts_the_changed_child(backend):
    with tractor(backend) as t:
        tree = {"tractor": 1, "name": "t", "children": [sleeper(n) for n in "abc"]}
        t.call("tree.load", tree=tree)
        before = {n: t.pid(f"/t/{n}") for n in "abc"}
        tree["children"][1]["exec"] = ["sleep", "2000"]
        result = t.call("tree.apply", tree=tree)
        assert result["restarted"] == ["/t/b"] and result["added"] == result["removed"] == [], result
        after = {n: t.pid(f"/t/{n}") for n in "abc"}
        assert before["b"] != after["b"] and before["a"] == after["a"] and before["c"] == after["c"]


def not_built_is_refused_by_name(backend):
    with tractor(backend) as t:
        for method in ("supervisor.reexec", "debug.lock", "debug.unlock"):
            error = expect_error(-32010, t.call, method, path="/x")
            assert method in error.message, error.message
        expect_error(-32601, t.call, "actor.fly", path="/x")


def request_key(backend):
    """Two requests with one idempotency key have their effect once, and both get the answer."""
    with tractor(backend) as t:
        t.load(children=[])
        params = {"parent": "/t", "name": "x", "exec": ["sleep", "1000"]}
        first, second = (t.main.answer(t.main.request("actor.spawn", params, {"key": "k-1"})) for _ in range(2))
        assert first == second


def request_deadline(backend):
    with tractor(backend) as t:
        tree = {"tractor": 1, "name": "t", "intensity": {"max_restarts": 0, "within_ms": 1},
                "children": [sleeper("x", ready="notify", start_timeout_ms=1500)]}
        expect_error(-32007, lambda: t.main.answer(t.main.request("tree.load", {"tree": tree}, {"deadline_ms": 200})))


def request_if_id(backend):
    """A request with `if_id` never hits a successor."""
    with tractor(backend) as t:
        t.load(children=[sleeper("x")])
        old = t.get("/t/x")["id"]
        t.call("actor.restart", path="/t/x")
        pid = t.pid("/t/x")
        for method in ("actor.cancel", "actor.kill", "actor.restart"):
            expect_error(-32004, lambda: t.main.answer(t.main.request(method, {"path": "/t/x"}, {"if_id": old})))
        assert t.pid("/t/x") == pid
        t.main.answer(t.main.request("actor.cancel", {"path": "/t/x"}, {"if_id": t.get("/t/x")["id"]}))
        assert state(t, "/t/x") == "dead"


def event_items(backend):
    """epoch, seq rising by one, time_us, path and event in each; none skipped, none of other paths."""
    with tractor(backend) as t:
        everything, branch = t.events(), t.events("/t/b")
        start = time.time_ns() // 1000
        t.load(children=[sleeper("a"), {"name": "b", "children": [sleeper("c")]}])
        kill(t.pid("/t/b/c"))
        everything.wait(lambda e: e["path"] == "/t/b/c" and e.get("to") == "ready" and e["generation"] == 2, "c again")
        t.call("tree.unload", path="/t")
        items = []
        full = t.events()
        t.load(name="u", children=[sleeper("a")])
        t.call("tree.unload", path="/u")
        while not items or (items[-1]["path"], items[-1]["event"]) != ("/u", "removed"):
            items.append(full.next())
        for item in items:
            assert {"epoch", "seq", "time_us", "path", "event"} <= set(item), item
            assert item["epoch"] == items[0]["epoch"] and isinstance(item["seq"], int)
            assert start <= item["time_us"] <= time.time_ns() // 1000, item
        seqs = [item["seq"] for item in items]
        assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), seqs
        below = []
        while not below or below[-1]["event"] != "removed" or below[-1]["path"] != "/t/b":
            below.append(branch.next())
        assert {item["path"] for item in below} == {"/t/b", "/t/b/c"}, below
        # An exit is told with what it led to, and not again when the next generation is asked to stop.
        told = [(i["to"], i["generation"], i["exit"]["cause"]) for i in below if i["event"] == "state" and "exit" in i
                and i["path"] == "/t/b/c"]
        assert told == [("starting", 2, "signal"), ("dead", 2, "stop")], told
        assert [i["seq"] for i in below] == sorted({i["seq"] for i in below})


def event_stream_start(backend):
    """`started` gives epoch and seq, from which the items go on; without ctx it is refused, and $/cancel ends it."""
    with tractor(backend) as t:
        c = t.connect()
        ident = c.request("events.subscribe", {}, {"ctx": True, "credit": 100})
        first = c.receive()
        assert first["method"] == "$/started" and first["params"]["id"] == ident, first
        value = first["params"]["value"]
        t.load(children=[])
        item = c.receive()
        assert item["method"] == "$/next", item
        item = item["params"]["value"]
        assert item["epoch"] == value["epoch"] and item["seq"] == value["seq"] + 1, (value, item)
        c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": ident}})
        while True:
            message = c.receive()
            if message.get("id") == ident:
                break
        assert message["error"]["code"] == -32800, message
        c.call("supervisor.ping")
        expect_error(-32600, c.call, "events.subscribe")
        subscribe = c.request("events.subscribe", {"path": "/nobody"}, {"ctx": True})
        message = c.receive()
        assert "error" in message or message["params"]["id"] == subscribe, message


def event_credit(backend):
    """With credit for two a slow subscriber gets two, then hears how many it lost, or the rest; nothing waits for it."""
    with tractor(backend) as t:
        c = t.connect()
        ident = c.request("events.subscribe", {}, {"ctx": True, "credit": 2})
        value = c.receive()["params"]["value"]
        t.load(children=[sleeper(f"s{i}") for i in range(10)])
        t.call("tree.unload", path="/t")
        got = [c.receive()["params"]["value"]["seq"] for _ in range(2)]
        assert got == [value["seq"] + 1, value["seq"] + 2], got
        c.call("supervisor.ping")
        c.send({"jsonrpc": "2.0", "method": "$/credit", "params": {"id": ident, "n": 1000}})
        credited = c.request("supervisor.ping")
        expected = got[-1] + 1
        while True:
            message = c.receive()
            if message.get("id") == credited:  # what comes by another connection could be read first
                t.load(name="last", children=[])
                continue
            params = message["params"]
            expected += params.get("lost", 0)
            assert params["value"]["seq"] == expected, (params, expected)
            expected += 1
            if params["value"]["path"] == "/last":
                break


def tree_get(backend):
    with tractor(backend) as t:
        t.load(strategy="rest_for_one", children=[sleeper("a"), {"name": "b", "children": [sleeper("c"), sleeper("d")]}])
        root = t.call("tree.get")
        assert root["path"] == "/" and root["kind"] == "supervisor", root
        assert [n["path"] for n in nodes(root)] == ["/", "/t", "/t/a", "/t/b", "/t/b/c", "/t/b/d"]
        for node in nodes(t.get("/t")):
            due = {"path", "kind", "state", "id", "generation", "restarts", "since_ms", "usage"}
            assert due <= set(node), due - set(node)
            assert set(node["usage"]) == {"cpu_us", "memory", "memory_peak", "tasks", "pressure"}, node["usage"]
            assert ("children" in node and "strategy" in node) == (node["kind"] == "supervisor"), node
            assert ("pid" in node) == (node["kind"] == "actor")
        assert t.get("/t")["strategy"] == "rest_for_one"
        assert not t.get("/t", depth=0).get("children")
        assert [n["path"] for n in nodes(t.get("/t", depth=1))] == ["/t", "/t/a", "/t/b"]
        narrow = t.get("/t/a", fields=["state", "pid"])
        assert {"state", "pid"} <= set(narrow) <= {"state", "pid", "path"}, narrow
        assert [n["path"] for n in t.get("/t", after="a")["children"]] == ["/t/b"]
        expect_error(-32004, t.get, "/t/nobody")
        expect_error(-32602, t.get, 7)
        expect_error(-32602, t.get, "/", depth="all")


def tree_get_pages(backend):
    """`more` where the reply would pass max_line: the name to give as `after`; the pages are the whole."""
    with tractor(backend) as t:
        t.load(name="wide", children=[{"name": f"w{i:05}", "children": []} for i in range(6000)])
        names, after, pages = [], {}, 0
        while True:
            page = t.get("/wide", **after)
            names += [n["path"] for n in page["children"]]
            pages += 1
            if not page.get("more"):
                break
            assert page["more"] == names[-1].rsplit("/", 1)[1], (page["more"], names[-1])
            after = {"after": page["more"]}
        assert names == [f"/wide/w{i:05}" for i in range(6000)], len(names)
        assert pages > 1


def tree_get_pages_by_size(backend):
    """Long descriptions, labels and the asker's own max_line make shorter pages, never an error."""
    with tractor(backend) as t:
        words = {"description": "d\u0001\"" * 300, "labels": {f"l{i}": "\\" * 500 for i in range(4)}}
        for tree in ("t0", "t1"):
            t.load(name=tree, children=[{"name": f"n{i}", "children": [], **words} for i in range(100)])
        for max_line in (1 << 20, 64 << 10):
            c = Connection(t.path)
            c.send({"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1", "max_line": max_line}})
            assert c.receive()["method"] == "$/hello"
            names, asks = [], [{"path": "/"}]
            while asks:
                node = c.call("tree.get", **asks.pop())
                children = node["children"]
                names += [n["path"] for n in children if n["path"].count("/") == 2]
                for n in [node, *children]:
                    if "more" in n:
                        asks.append({"path": n["path"], "after": n["more"]})
                    if n is not node:
                        names += [m["path"] for m in n["children"]]
            assert sorted(names) == sorted(f"/t{i}/n{j}" for i in range(2) for j in range(100)), len(names)
            c.close()


if __name__ == "__main__":
    for name, difference in KNOWN.items():
        print(f"known difference, not run: {name}: {difference}", file=sys.stderr)
    tests = [owner_killed, blocked_grandchild, blocked_grandchild_in_run, strategies, stops_in_reverse, restart_types,
             cannot_exec, daemon_stopped_too, ignores_term, journal_names_the_step, depends_and_readiness,
             apply_restarts_the_changed_child, not_built_is_refused_by_name, request_key, request_deadline,
             request_if_id, event_items, event_stream_start, event_credit, tree_get, tree_get_pages, tree_get_pages_by_size]
    main([t for t in tests if t.__name__ not in KNOWN or t.__name__ in sys.argv[1:]])
