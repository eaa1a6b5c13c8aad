#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a tree exposes of its actors' methods, and the log level it tells them."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import Client, ask, attached, say, stdio  # noqa: E402
from tractor import expect_error, main, sleeper, tractor  # noqa: E402

PACKAGE = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "python"))
ACTOR = """
from tractor.actor import Actor
actor, told = Actor(), []
@actor.method
def add(a, b):
    return a + b
@actor.method("set.note")
def note(word):
    told.append(word)
@actor.method("get.notes")
def notes():
    return told
@actor.dialog
async def talk(ctx):
    await ctx.started()
actor.run()
"""


def python_actor(name, **keys):
    return {"name": name, "exec": [sys.executable, "-c", ACTOR], "env": {"PYTHONPATH": PACKAGE}, "channel": "fd",
            "ready": "channel", "start_timeout_ms": 20000, **keys}


def environ(t, path):
    with open(f"/proc/{t.pid(path)}/environ", encoding="utf-8") as f:
        return dict(v.split("=", 1) for v in f.read().split("\0") if v)


def in_python(backend):
    with tractor(backend) as t:
        t.load(children=[python_actor("all"), python_actor("some", expose=["add", "get.notes"]),
                         python_actor("none", expose=[])])
        everything = attached(t, "/t/all", hello=True)
        assert everything.call("$/methods") == ["add", "get.notes", "set.note", "talk"]
        assert "TRACTOR_EXPOSE" not in environ(t, "/t/all")
        some = attached(t, "/t/some", hello=True)
        assert environ(t, "/t/some")["TRACTOR_EXPOSE"] == "add,get.notes"
        assert some.call("$/methods") == ["add", "get.notes"]
        assert ask(some, "add", [1, 2]) == 3
        expect_error(-32601, some.call, "set.note", word="w")
        expect_error(-32601, some.answer, some.request("talk", {}, {"ctx": True}))
        some.send({"jsonrpc": "2.0", "method": "set.note", "params": ["w"]})
        assert some.call("get.notes") == []
        none = attached(t, "/t/none", hello=True)
        assert environ(t, "/t/none")["TRACTOR_EXPOSE"] == "" and none.call("$/methods") == []
        expect_error(-32601, none.call, "add", a=1, b=2)
        for client in (everything, some, none):
            client.close()


def on_stdio(backend):
    """By the adapter: the program knows nothing of it."""
    with tractor(backend) as t:
        t.load(children=[stdio("a", expose=["raw", "seen", "tools/list"]), stdio("none", expose=[])])
        client = attached(t, "/t/a", hello=True)
        assert say(client, "raw", 1) == [1]
        error = expect_error(-32601, client.call, "exit")
        assert "exposed" in error.message
        error = expect_error(-32601, client.call, "ra")
        assert "exposed" in error.message
        # One that is exposed is the program's to refuse.
        assert "exposed" not in expect_error(-32601, client.call, "tools/list").message
        client.send({"jsonrpc": "2.0", "method": "exit", "params": [1]})
        client.send({"jsonrpc": "2.0", "method": "seen", "params": [1]})
        assert ["seen" in line and "exit" not in line for line in say(client, "seen")] == [True]
        none = attached(t, "/t/none", hello=True)
        expect_error(-32601, none.call, "raw")
        client.close()
        none.close()


def log_level(backend):
    """The nearest one counts; a change of it is told to the next generation."""
    with tractor(backend) as t:
        tree = {"tractor": 1, "name": "t", "log_level": "warning", "children": [
            sleeper("a"), sleeper("b", log_level="debug"),
            {"name": "s", "log_level": "err", "children": [sleeper("c"), sleeper("d", log_level="emerg")]}]}
        t.call("tree.load", tree=tree)
        t.load(name="u", children=[sleeper("a")])

        def level(path):
            return environ(t, path).get("TRACTOR_LOG_LEVEL")
        assert [level(p) for p in ("/t/a", "/t/b", "/t/s/c", "/t/s/d", "/u/a")] == ["warning", "debug", "err", "emerg", None]
        tree["log_level"] = "info"
        result = t.call("tree.apply", tree=tree)
        assert (result["updated"], result["restarted"]) == (["/t"], []), result
        assert result["changes"] == {"/t": {"log_level": {"live": True, "from": "warning", "to": "info"}}}, result
        assert level("/t/a") == "warning"
        t.call("actor.restart", path="/t/a")
        assert level("/t/a") == "info"
        client = Client(t.path)
        client.call("nursery.open", parent="/t", name="n", log_level="alert")
        client.call("actor.spawn", parent="/t/n", **sleeper("x"))
        client.call("actor.spawn", parent="/t/n", **sleeper("y", log_level="notice"))
        client.call("nursery.open", parent="/t", name="m")
        client.call("actor.spawn", parent="/t/m", **sleeper("x"))
        assert [level(p) for p in ("/t/n/x", "/t/n/y", "/t/m/x")] == ["alert", "notice", "info"]
        client.close()


if __name__ == "__main__":
    main([in_python, on_stdio, log_level])
