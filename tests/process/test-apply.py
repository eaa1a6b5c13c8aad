#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tree.apply: a tree that runs becomes the one described, and only what differs is touched."""

import json
import os
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, expect_error, gone, kill, main, program, sleeper, tractor  # noqa: E402

LISTS = ("added", "removed", "restarted", "updated")


def tree(*children, **keys):
    return {"tractor": 1, "name": "t", "children": list(children), **keys}


def bad(name, *actions, **keys):
    return {"name": name, "exec": [BAD_ACTOR, *actions], **keys}


def job(name, code, **keys):
    return {"name": name, "exec": ["sh", "-c", f"exit {code}"], "restart": "temporary", "ready": "exited", **keys}


def apply(t, tree, **params):
    return t.call("tree.apply", tree=tree, **params)


def lists(result, unchanged=None, **due):
    """The result names exactly these nodes."""
    for name in LISTS:
        assert sorted(result[name]) == sorted(due.get(name, [])), (name, result)
    if unchanged is not None:
        assert result["unchanged"] == unchanged, result


def pids(t, path="/t"):
    node, found = t.get(path), {}

    def walk(n):
        if "pid" in n:
            found[n["path"]] = n["pid"]
        for c in n.get("children", ()):
            walk(c)

    walk(node)
    return found


def names(t, path="/t"):
    return [c["path"].rsplit("/", 1)[1] for c in t.get(path)["children"]]


def limits_work(t):
    return "pids" in t.status["controllers"]


def added_removed_and_moved(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b"), {"name": "c", "children": [sleeper("x"), sleeper("y")]}))
        before, old = pids(t), t.get("/t/b")
        new = tree({"name": "c", "children": [sleeper("z"), sleeper("y")]}, sleeper("n"), sleeper("a"))
        result = apply(t, new)
        lists(result, 4, added=["/t/n", "/t/c/z"], removed=["/t/b", "/t/c/x"])
        after = pids(t)
        assert {p for p in after} == {"/t/a", "/t/n", "/t/c/y", "/t/c/z"}, after
        assert after["/t/a"] == before["/t/a"] and after["/t/c/y"] == before["/t/c/y"]
        assert gone(old["pid"]) and gone(before["/t/c/x"])
        expect_error(-32004, t.get, "/t/b")
        assert names(t) == ["c", "n", "a"] and names(t, "/t/c") == ["z", "y"], names(t)
        if old.get("cgroup"):
            t.call("supervisor.ping")  # the node's home goes right after the answer
            assert not os.path.exists("/sys/fs/cgroup" + old["cgroup"])
        lists(apply(t, new), 6)
        assert pids(t) == after


def live_keys_change_in_place(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), {"name": "s", "children": [sleeper("b")]}))
        before = pids(t)
        live = {"restart": "transient", "backoff": {"initial_ms": 5}, "grace_ms": 50, "watchdog_ms": 600000,
                "significant": True, "description": "words", "labels": {"k": "v"}, "limits_optional": True}
        result = apply(t, tree(sleeper("a", **live), {"name": "s", "strategy": "rest_for_one", "on_give_up": "isolate",
                                                      "auto_shutdown": "any_significant", "intensity": {"max_restarts": 1},
                                                      "children": [sleeper("b")]}, description="top"))
        lists(result, 1, updated=["/t", "/t/a", "/t/s"])
        assert pids(t) == before
        assert t.get("/t/a")["description"] == "words" and t.get("/t")["description"] == "top"
        assert t.get("/t/s")["strategy"] == "rest_for_one"
        change = result["changes"]["/t/a"]["restart"]
        assert change == {"live": True, "from": "permanent", "to": "transient"}, change
        assert result["changes"]["/t"] == {"description": {"live": True, "from": None, "to": "top"}}, result


def a_new_restart_type_rules(backend):
    with tractor(backend) as t:
        events = t.events()
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b")))
        apply(t, tree(sleeper("a", restart="temporary"), sleeper("b")))
        kill(t.pid("/t/a"))
        assert events.state("/t/a", "failed", "backoff")["to"] == "failed"
        kill(t.pid("/t/b"))
        events.state("/t/b", "ready")


def a_restart_leaves_siblings_alone(backend):
    """Whatever the strategy; and it counts for nothing."""
    for strategy in ("one_for_one", "one_for_all", "rest_for_one", "one_cancels_all"):
        with tractor(backend) as t:
            keys = {"strategy": strategy, "intensity": {"max_restarts": 0, "within_ms": 60000}}
            t.call("tree.load", tree=tree(*(sleeper(n) for n in "abc"), **keys))
            before = pids(t)
            for i in range(3):
                result = apply(t, tree(sleeper("a"), sleeper("b", env={"N": str(i)}), sleeper("c"), **keys))
                lists(result, 3, restarted=["/t/b"])
                assert list(result["changes"]["/t/b"]) == ["env.N"], result
            after = pids(t)
            assert after["/t/b"] != before.pop("/t/b") and before.items() <= after.items(), strategy
            with open(f"/proc/{after['/t/b']}/environ") as f:
                assert "N=2" in f.read().split("\0")


def order_follows_dependencies(backend):
    """Old dependencies rule the stops, new ones the starts."""
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("old"), sleeper("b", depends=["old"]), sleeper("a"), sleeper("gone", depends=["b"])))
        events = t.events()
        result = apply(t, tree(sleeper("a", umask="077"), sleeper("b", depends=["a", "new"]), sleeper("new", depends=["a"])))
        lists(result, 1, added=["/t/new"], removed=["/t/old", "/t/gone"], restarted=["/t/a", "/t/b"])
        seen = []
        while not {"new ready", "b ready", "old exited"} <= set(seen):
            e = events.next()
            if e["event"] == "exited" or (e["event"] == "state" and e["to"] in ("starting", "ready")):
                seen.append(f"{e['path'][3:]} {e.get('to', 'exited')}")
        at = {s: i for i, s in enumerate(seen)}
        assert at["gone exited"] < at["b exited"] < at["old exited"], seen
        assert at["a ready"] < at["new starting"] < at["new ready"] < at["b starting"], seen


def dry_run_and_wrong_files_touch_nothing(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b"), {"name": "s", "children": []}))
        t.call("tree.load", tree={"tractor": 1, "name": "other", "children": [sleeper("x")]})
        t.call("actor.spawn", parent="/other", name="dep", exec=["sleep", "1000"], depends=["/t/s"])
        before, shape = pids(t), t.get("/t", fields=["path", "state", "since_ms", "generation"])
        events = t.events()
        new = tree(sleeper("a", nice=1), sleeper("n"), {"name": "b", "children": []}, {"name": "s", "children": []})
        due = {"added": ["/t/n", "/t/b"], "removed": ["/t/b"], "restarted": ["/t/a"]}
        lists(apply(t, new, dry_run=True), 2, **due)
        wrong = [(-32602, tree(sleeper("a", depends=["zz"]), sleeper("q", nice=99))),
                 (-32010, tree(sleeper("a"), sleeper("b", paths=[]))),
                 (-32602, tree(sleeper("a", depends=["b"]), sleeper("b", depends=["a"]))),
                 (-32602, tree(sleeper("a", umask="0"), sleeper("n", depends=["/other/none"]))),
                 (-32602, tree(sleeper("a", umask="0"), {"name": "s", "children": [sleeper("n", depends=["/other/dep"])]})),
                 (-32602, tree(sleeper("n"), sleeper("u", user="no-such-user-here"))),
                 (-32602, tree(*(sleeper(f"d{i}", depends=["/t/d0"]) for i in range(3))))]
        if backend == "process":
            wrong.append((-32010, tree(sleeper("a", limits={"TasksMax": 5}), sleeper("b", umask="0"))))
        for code, file in wrong:
            for dry_run in (False, True):
                if os.geteuid() != 0 and "user" in file["children"][-1]:
                    continue
                error = expect_error(code, apply, t, file, dry_run=dry_run)
                assert not any(error.data.get(name) for name in LISTS), error.data
        problems = expect_error(-32602, apply, t, wrong[0][1]).data["problems"]
        assert {p["pointer"] for p in problems} == {"/children/0/depends/0", "/children/1/nice"}, problems
        assert pids(t) == before
        assert t.get("/t", fields=["path", "state", "generation"]) == {**strip(shape)}, shape
        t.call("tree.load", tree={"tractor": 1, "name": "mark", "children": []})
        while True:
            e = events.next()
            if e["path"] == "/mark":
                break
            assert not e["path"].startswith("/t"), e
        expect_error(-32602, apply, t, {"tractor": 1, "name": "new", "children": [sleeper("a", depends=["/t/none"])]}, dry_run=True)
        lists(apply(t, {"tractor": 1, "name": "new", "children": [sleeper("a", depends=["/t/a"])]}, dry_run=True), 0,
              added=["/new"])
        expect_error(-32004, t.get, "/new")
        lists(apply(t, new), 2, **due)


def strip(node):
    """Without what time changes."""
    kept = {k: v for k, v in node.items() if k != "since_ms"}
    if "children" in kept:
        kept["children"] = [strip(c) for c in kept["children"]]
    return kept


def a_tree_that_is_not_there_is_loaded(backend):
    with tractor(backend) as t:
        lists(apply(t, tree(sleeper("a"))), 0, added=["/t"])
        assert t.get("/t")["state"] == "ready"
        error = expect_error(-32014, apply, t, {"tractor": 1, "name": "u", "intensity": {"max_restarts": 0},
                                                "children": [{"name": "x", "exec": ["/no/such/program"]}]})
        assert "/u" in error.message
        expect_error(-32004, t.get, "/u")


def a_changed_kind_is_another_node(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("k"), sleeper("a", depends=["k"]), {"name": "s", "children": [sleeper("x")]}))
        before = pids(t)
        result = apply(t, tree({"name": "k", "children": [sleeper("y")]}, sleeper("a", depends=["k"]), sleeper("s"),
                               sleeper("new", depends=["k", "s"])))
        lists(result, 2, added=["/t/k", "/t/s", "/t/new"], removed=["/t/k", "/t/s"])
        after = pids(t)
        assert set(after) == {"/t/k/y", "/t/a", "/t/s", "/t/new"} and after["/t/a"] == before["/t/a"], after
        assert gone(before["/t/k"]) and gone(before["/t/s/x"]) and names(t) == ["k", "a", "s", "new"]


def a_start_that_fails(backend):
    with tractor(backend) as t:
        keys = {"on_give_up": "isolate", "intensity": {"max_restarts": 1, "within_ms": 60000}}
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b"), sleeper("c"), **keys))
        before = pids(t)
        broken = {"name": "b", "exec": ["/no/such/program"]}
        error = expect_error(-32012, apply, t, tree(sleeper("a"), broken, sleeper("n"), **keys))
        assert "/t/b" in error.message and error.data["failed"] == ["/t/b"], error.data
        lists(error.data, 2, added=["/t/n"], removed=["/t/c"], restarted=["/t/b"])
        after = pids(t)
        assert set(after) == {"/t/a", "/t/n"} and after["/t/a"] == before["/t/a"]
        assert t.get("/t/b")["state"] == "failed"
        # One that failed and is not changed stays so; changed, it gets its chance, with its count at nothing.
        lists(apply(t, tree(sleeper("a"), broken, **keys)), 3, removed=["/t/n"])
        assert t.get("/t/b")["state"] == "failed"
        lists(apply(t, tree(sleeper("a"), sleeper("b"), **keys)), 2, restarted=["/t/b"])
        assert t.get("/t/b")["state"] == "ready" and pids(t)["/t/a"] == before["/t/a"]


def a_failed_tree_is_started_by_a_better_file(backend):
    with tractor(backend) as t:
        events = t.events()
        keys = {"intensity": {"max_restarts": 0, "within_ms": 60000}}
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b"), **keys))
        kill(t.pid("/t/a"))
        events.state("/t", "failed")
        lists(apply(t, tree(sleeper("a"), sleeper("b"), description="x", **keys)), 2, updated=["/t"])
        assert t.get("/t")["state"] == "failed"
        result = apply(t, tree(sleeper("a", umask="0"), sleeper("b"), **keys))
        lists(result, 0, restarted=["/t", "/t/a"])
        assert t.get("/t")["state"] == "ready" and len(pids(t)) == 2


def what_was_cancelled_stays(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), {"name": "s", "children": [sleeper("x")]}))
        t.call("actor.cancel", path="/t/s")
        result = apply(t, tree(sleeper("a"), {"name": "s", "children": [sleeper("x", umask="0"), sleeper("y")]}))
        lists(result, 3, updated=["/t/s/x"], added=["/t/s/y"])
        assert t.get("/t/s")["state"] == "dead" and list(pids(t)) == ["/t/a"]
        t.call("actor.restart", path="/t/s")
        with open(f"/proc/{t.pid('/t/s/x')}/status") as f:
            assert "Umask:\t0000\n" in f.read()
        assert "pid" in t.get("/t/s/y")


def spawned_children_stay(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), {"name": "s", "children": []}))
        t.call("actor.spawn", parent="/t", name="mine", exec=["sleep", "1000"])
        t.call("actor.spawn", parent="/t/s", name="too", exec=["sleep", "1000"])
        before = pids(t)
        lists(apply(t, tree(sleeper("b"), {"name": "s", "children": []})), 2, added=["/t/b"], removed=["/t/a"])
        assert pids(t)["/t/mine"] == before["/t/mine"] and names(t) == ["b", "s", "mine"]
        lists(apply(t, tree(sleeper("b"), sleeper("mine"))), 3, removed=["/t/s"])  # the file's from now on
        lists(apply(t, tree(sleeper("b"))), 2, removed=["/t/mine"])
        # What was taken out by hand comes back.
        t.call("tree.unload", path="/t/b")
        lists(apply(t, tree(sleeper("b"))), 1, added=["/t/b"])


def one_change_at_a_time(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a"), sleeper("b")))
        slow = tree(sleeper("a"), bad("b", "hang", ready="notify", start_timeout_ms=600000))
        first = t.connect()
        events = t.events()
        ident = first.request("tree.apply", {"tree": slow})
        events.state("/t/b", "starting")
        error = expect_error(-32008, apply, t, tree(sleeper("a"), sleeper("b")))
        assert "/t" in error.message, error.message
        expect_error(-32008, apply, t, tree(sleeper("a")), dry_run=True)
        first.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": ident}})
        expect_error(-32800, first.answer, ident)
        assert t.get("/t/b")["state"] == "starting"  # what was begun goes on
        lists(apply(t, tree(sleeper("a"), sleeper("b"))), 2, restarted=["/t/b"])

        # While a tree is being loaded, and while what is left of the old has not gone.
        loading = t.connect()
        wait = loading.request("tree.load", {"tree": {"tractor": 1, "name": "l", "children": [
            bad("x", "hang", ready="notify", start_timeout_ms=600000)]}})
        events.state("/l/x", "starting")
        expect_error(-32008, apply, t, {"tractor": 1, "name": "l", "children": []})
        loading.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": wait}})
        expect_error(-32800, loading.answer, wait)
        apply(t, tree(bad("b", "ignore-term", "notify-ready", "hang", ready="notify", grace_ms=600000)))
        events = t.events()
        ident = first.request("tree.apply", {"tree": tree(sleeper("b"))})
        events.state("/t/b", "stopping")
        first.close()
        t.connections.remove(first)
        expect_error(-32008, apply, t, tree(sleeper("b")))
        old = t.pid("/t/b")
        kill(old)
        assert events.state("/t/b", "ready")["pid"] != old
        lists(apply(t, tree(sleeper("b"))), 2)


def unloaded_meanwhile(backend):
    with tractor(backend) as t:
        t.call("tree.load", tree=tree(sleeper("a")))
        events, other = t.events(), t.connect()
        ident = other.request("tree.apply", {"tree": tree(sleeper("a"), bad("b", "hang", ready="notify",
                                                                           start_timeout_ms=600000))})
        events.state("/t/b", "starting")
        t.call("tree.unload", path="/t")
        expect_error(-32002, other.answer, ident)
        expect_error(-32004, t.get, "/t")


def old_signals_stop_the_old_program(backend):
    with tractor(backend) as t:
        ready = os.path.join(t.dir, "ready")
        t.call("tree.load", tree=tree({"name": "a", "exec": ["sh", "-c", "trap 'exit 0' INT; trap '' TERM; touch $0; "
                                       "while :; do sleep 0.01; done", ready], "ready": {"file": ready},
                                       "stop_signal": "INT", "grace_ms": 60000}))
        events = t.events()
        apply(t, tree(sleeper("a", stop_signal="TERM")))
        assert events.wait(lambda e: e["event"] == "exited")["exit"].get("code") == 0
        t.call("actor.kill", path="/t/a", signal=int(signal.SIGTERM))


def limits_change_in_place(backend):
    with tractor(backend) as t:
        if not limits_work(t):
            error = expect_error(-32010, apply, t, tree(sleeper("a", limits={"TasksMax": 5})))
            assert "TasksMax" in error.message
            return
        t.call("tree.load", tree=tree(sleeper("a", limits={"TasksMax": 5}), sleeper("b", limits={"TasksMax": 7})))
        before = pids(t)
        t.call("actor.set_limits", path="/t/b", limits={"TasksMax": 8})
        result = apply(t, tree(sleeper("a", limits={"TasksMax": 6}), sleeper("b", limits={"TasksMax": 7})))
        lists(result, 2, updated=["/t/a"])
        assert result["changes"]["/t/a"] == {"limits.TasksMax": {"live": True, "from": 5, "to": 6}}, result
        assert t.get("/t/a")["limits"] == {"TasksMax": 6} and t.get("/t/b")["limits"] == {"TasksMax": 8}
        assert pids_max(t, "/t/a") == "6" and pids(t) == before
        apply(t, tree(sleeper("a"), sleeper("b", limits={"TasksMax": 7})))
        assert not t.get("/t/a").get("limits") and pids_max(t, "/t/a") == "max" and pids(t) == before
        apply(t, tree(sleeper("a", limits={"TasksMax": 9}, umask="0"), sleeper("b", limits={"TasksMax": 7})))
        assert pids_max(t, "/t/a") == "9" and pids(t)["/t/a"] != before["/t/a"]


def pids_max(t, path):
    """Of the node itself: on scope its slice, on cgroup above the leaves of later generations."""
    folder = "/sys/fs/cgroup" + t.get(path)["cgroup"]
    if t.status["backend"] == "scope":
        subprocess.run(["systemctl", "is-system-running"], stdout=subprocess.DEVNULL)  # it has read what was asked before
        folder = os.path.dirname(folder)
    elif t.get(path)["generation"] > 1:
        folder = os.path.dirname(folder)
    with open(os.path.join(folder, "pids.max")) as f:
        return f.read().strip()


def command_line(backend):
    with tractor(backend) as t:
        file = os.path.join(t.dir, "t.json")

        def ctl(tree, *args, code=0):
            with open(file, "w") as f:
                json.dump(tree, f)
            done = subprocess.run([program("tractorctl"), "--socket", t.path, "apply", *args, file], text=True,
                                  capture_output=True, stdin=subprocess.DEVNULL)
            assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
            assert (done.stderr == "") == (code == 0), done.stderr
            return done.stderr if code else done.stdout

        old = tree(sleeper("a", env={"FOO": "x"}), sleeper("b", grace_ms=500), sleeper("c"))
        assert ctl(old, "--dry-run") == ctl(old) == "+ /t\n"
        before = pids(t)
        new = tree(sleeper("a", env={"FOO": "y"}, umask="0", description="words"), sleeper("b", grace_ms=600), sleeper("d"))
        due = ("+ /t/d\n- /t/c\n~ /t/a restarts: env.FOO, umask; description unset -> words in place\n"
               "* /t/b grace_ms 500 -> 600 in place\n")
        told = ctl(new, "--dry-run")
        assert told == due and pids(t) == before, told
        assert json.loads(ctl(new, "--dry-run", "--json=short"))["restarted"] == ["/t/a"] and pids(t) == before
        assert ctl(new) == due
        assert ctl(new) == "nothing to change\n"
        assert ctl(new, "-q") == "" and ctl(new, "--json=short").startswith("{")
        assert "/children/0/nice" in ctl(tree(sleeper("a", nice=99)), code=1)
        error = ctl(tree(sleeper("b"), {"name": "a", "exec": ["/no/such"], "restart": "temporary"}), code=1)
        assert "/t/a" in error and "tractorctl status /t/a" in error and error.count("\n") == 1, error
        assert set(pids(t)) == {"/t/b"}


if __name__ == "__main__":
    main([added_removed_and_moved, live_keys_change_in_place, a_new_restart_type_rules, a_restart_leaves_siblings_alone,
          order_follows_dependencies, dry_run_and_wrong_files_touch_nothing, a_tree_that_is_not_there_is_loaded,
          a_changed_kind_is_another_node, a_start_that_fails, a_failed_tree_is_started_by_a_better_file,
          what_was_cancelled_stays, spawned_children_stay, one_change_at_a_time, unloaded_meanwhile,
          old_signals_stop_the_old_program, limits_change_in_place, command_line])
