#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket: every method of this version, its refusals, and peers that misbehave."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, Connection, RpcError, expect_error, gone, kill, main, memory_kib, sleeper, tractor  # noqa: E402


def status(backend):
    with tractor(backend) as t:
        assert t.call("supervisor.ping") == {}
        s = t.call("supervisor.status")
        assert s["backend"] == backend and s["why"], s
        assert s["actors"] == 0 and s["connections"] == 1 and s["instance"].startswith("r"), s
        for key in ("version", "pid", "keeper_pid", "uptime_ms", "controllers", "supervisors", "features"):
            assert key in s, key
        assert open(f"/proc/{s['pid']}/comm").read().strip() == "tractor-supervi"
        assert open(f"/proc/{s['keeper_pid']}/comm").read().strip() == "tractord"


def refused_by_name(backend):
    with tractor(backend) as t:
        for method in ("supervisor.reexec", "debug.lock"):
            error = expect_error(-32010, t.call, method)
            assert method in error.message
        expect_error(-32601, t.call, "no.such")
        expect_error(-32602, t.call, "tree.get", path="not a path")
        expect_error(-32602, t.call, "tree.get", path=7)
        expect_error(-32602, t.call, "tree.get", path="/", depth=-1)
        expect_error(-32004, t.call, "tree.get", path="/nobody")
        expect_error(-32602, t.call, "actor.cancel", path="/")
        expect_error(-32600, t.call, "events.subscribe")
        error = expect_error(-32010, t.load, children=[{"name": "x", "exec": ["true"], "pool": {"size": 2}}])
        assert error.data["problems"][0]["pointer"] == "/children/0/pool", error.data


def wrong_trees(backend):
    """All problems at once, and nothing is started."""
    with tractor(backend) as t:
        error = expect_error(
            -32602, t.load, strategy="one_for_none", colour="red",
            children=[{"name": "a", "exec": "sleep 1"}, {"name": "a", "exec": ["true"]}, {"exec": ["true"]},
                      {"name": "d", "exec": ["true"], "depends": ["nobody"], "restart": "always"}])
        pointers = {p["pointer"] for p in error.data["problems"]}
        assert pointers == {"/strategy", "/colour", "/children/0/exec", "/children/1/name", "/children/2",
                            "/children/3/depends/0", "/children/3/restart"}, error.data["problems"]
        assert t.get("/").get("children", []) == []
        expect_error(-32602, t.call, "tree.validate", tree={"tractor": 1, "name": "x", "children": 3})
        assert t.call("tree.validate", tree={"tractor": 1, "name": "x", "children": []}) == {}


def load_and_unload(backend):
    with tractor(backend) as t:
        assert t.load("one", children=[sleeper("a")]) == {"path": "/one"}
        expect_error(-32008, t.load, "one", children=[sleeper("a")])
        t.load("two", children=[{"name": "in", "children": [sleeper("b")]}])
        tree = t.get("/")
        assert [c["path"] for c in tree["children"]] == ["/one", "/two"]
        assert tree["children"][1]["children"][0]["children"][0]["path"] == "/two/in/b"
        pid = t.pid("/two/in/b")
        assert t.call("tree.unload", path="/two") == {}
        assert gone(pid)
        expect_error(-32004, t.get, "/two")
        assert t.call("supervisor.status")["actors"] == 1


def spawn_and_cancel(backend):
    with tractor(backend) as t:
        t.load(children=[])
        got = t.call("actor.spawn", parent="/t", name="w", exec=["sleep", "1000"], restart="temporary")
        assert got["path"] == "/t/w" and got["pid"] == t.pid("/t/w") and len(got["id"]) == 16, got
        expect_error(-32008, t.call, "actor.spawn", parent="/t", name="w", exec=["true"])
        expect_error(-32602, t.call, "actor.spawn", parent="/t", name="v w", exec=["true"])
        error = expect_error(-32012, t.call, "actor.spawn", parent="/t", name="v", exec=["/nonexistent"])
        assert error.data["step"] == "exec" and error.data["errno"] == 2
        expect_error(-32004, t.get, "/t/v")
        expect_error(-32012, t.call, "actor.spawn", parent="/t", name="v", exec=["true"], cwd="/nonexistent")
        ident = t.main.request("actor.cancel", {"path": "/t/w"}, {"if_id": "0000000000000000"})
        expect_error(-32004, t.main.answer, ident)
        assert t.get("/t/w")["state"] == "ready"
        answer = t.call("actor.cancel", path="/t/w", reason="test")
        assert answer["exit"]["cause"] == "stop" and answer["exit"]["signal"] == "SIGTERM", answer
        assert t.call("actor.cancel", path="/t/w") == answer
        node = t.get("/t/w")
        assert node["state"] == "dead" and "pid" not in node


def kill_and_restart(backend):
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[sleeper("a"), sleeper("b", restart="temporary")])
        a = t.pid("/t/a")
        t.call("actor.restart", path="/t/a")
        assert gone(a) and t.pid("/t/a") != a
        assert t.get("/t/a")["restarts"] == 0 or t.get("/t/a")["generation"] == 2
        t.call("actor.kill", path="/t/b", signal="KILL")
        ended = events.state("/t/b", "failed")
        assert ended["exit"]["signal"] == "SIGKILL" and ended["exit"]["cause"] == "signal"
        expect_error(-32002, t.call, "actor.kill", path="/t/b")
        t.call("actor.restart", path="/t/b")
        assert t.get("/t/b")["state"] == "ready"
        expect_error(-32602, t.call, "actor.kill", path="/t/b", signal="SIGNONSENSE")
        expect_error(-32602, t.call, "actor.kill", path="/t")
        t.call("actor.kill", path="/t/b", signal=15)
        assert events.state("/t/b", "failed")["exit"]["signal"] == "SIGTERM"
        t.call("actor.restart", path="/t")
        assert t.get("/t")["state"] == "ready"


def environment(backend):
    with tempfile.TemporaryDirectory() as d, tractor(backend, env={"INHERITED": "yes", "NOTIFY_SOCKET": "/no"}) as t:
        out = os.path.join(d, "out")
        t.load(children=[
            {"name": "a", "exec": ["sh", "-c", "env; pwd; umask"], "cwd": d, "env": {"OWN": "1"}, "umask": "077",
             "stdout": f"file:{out}", "ready": "exited", "restart": "transient"},
            {"name": "b", "exec": ["/usr/bin/env"], "env": {"OWN": "2"}, "env_clear": True,
             "stdout": f"file:{out}.b", "ready": "exited", "restart": "transient"},
        ])
        text = open(out).read().splitlines()
        env = dict(line.split("=", 1) for line in text if "=" in line)
        assert env["INHERITED"] == "yes" and env["OWN"] == "1" and "NOTIFY_SOCKET" not in env
        assert env["TRACTOR_PATH"] == "/t/a" and env["TRACTOR_GENERATION"] == "1"
        assert env["TRACTOR_SOCKET"] == t.path and env["TRACTOR_ACTOR_ID"] == t.get("/t/a")["id"]
        assert text[-2] == d and text[-1] == "0077"
        clear = open(out + ".b").read().splitlines()
        assert "OWN=2" in clear and not any(line.startswith("INHERITED") for line in clear)


def readiness(backend):
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(children=[
            {"name": "notify", "exec": [BAD_ACTOR, "notify-ready=100", "hang"], "ready": "notify"},
            {"name": "socket", "exec": [BAD_ACTOR, "after=100", f"listen={d}/s", "hang"], "ready": {"socket": f"{d}/s"}},
            {"name": "file", "exec": [BAD_ACTOR, "after=100", f"touch={d}/f", "hang"], "ready": {"file": f"{d}/f"}},
            {"name": "command", "exec": [BAD_ACTOR, "after=100", f"touch={d}/c", "hang"],
             "ready": {"command": ["test", "-e", f"{d}/c"], "interval_ms": 50}},
        ])
        for name in ("notify", "socket", "file", "command"):
            assert t.get(f"/t/{name}")["state"] == "ready", name
        assert all(os.path.exists(f"{d}/{f}") for f in "sfc")


def channel(backend):
    """An actor that speaks the protocol by hand on its inherited channel: hello, $/ready, $/status, asked to stop by $/cancel."""
    actor = """
import json, os, socket
s = socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"]))
f = s.makefile("rw")
def say(method, **params):
    f.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}) + "\\n")
    f.flush()
say("$/hello", protocol="tractor/1", name="x", path="/t/x", id="x", pid=os.getpid())
hello = json.loads(f.readline())
assert hello["method"] == "$/hello" and hello["params"]["protocol"] == "tractor/1", hello
say("$/status", text="warming up")
f.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "actor.spawn", "params": {"parent": "/t"}}) + "\\n")
f.flush()
assert json.loads(f.readline())["error"]["code"] == -32009
say("$/ready")
cancel = json.loads(f.readline())
assert cancel["method"] == "$/cancel" and cancel["params"]["id"] is None, cancel
"""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        open(f"{d}/actor.py", "w").write(actor)
        t.load(children=[{"name": "x", "exec": [sys.executable, f"{d}/actor.py"], "channel": "fd", "ready": "channel",
                          "start_timeout_ms": 20000}])
        node = t.get("/t/x")
        assert node["state"] == "ready" and node["status"] == "warming up", node
        answer = t.call("actor.cancel", path="/t/x")
        assert answer["exit"]["code"] == 0 and answer["exit"]["cause"] == "stop", answer


def identity(backend):
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        os.chmod(d, 0o777)
        t.load(children=[{"name": "a", "exec": ["sh", "-c", "id -u; id -g; ulimit -n; nice; grep NoNewPrivs /proc/self/status"],
                          "user": "nobody", "rlimits": {"NOFILE": 77}, "nice": 5, "stdout": f"file:{d}/out",
                          "ready": "exited", "restart": "transient"}])
        lines = open(f"{d}/out").read().split()
        assert lines == ["65534", "65534", "77", "5", "NoNewPrivs:", "1"], lines


def output_files(backend):
    """Without a journal output goes to bounded files under the state directory, and the record has the last words."""
    if os.path.exists("/run/systemd/journal/stdout"):
        return
    with tractor(backend) as t:
        events = t.events()
        t.load(on_give_up="isolate", intensity={"max_restarts": 0, "within_ms": 1000},
               children=[{"name": "x", "exec": ["sh", "-c", "echo hello; echo famous last words >&2; exit 9"]}])
        events.state("/t/x", "failed")
        t.await_log("last words: famous last words")
        assert sorted(t.output("/t/x")) == [("stderr", "famous last words"), ("stdout", "hello")], t.output("/t/x")
        assert os.listdir(t.output_folder) == ["t+x.log"]
        assert stat.S_IMODE(os.stat(t.output_folder).st_mode) == 0o700


def many_values(backend):
    """A tree whose description passes a line's bound comes in pages, and every node is seen once."""
    with tractor(backend) as t:
        t.load(children=[{"name": f"g{i}", "children": [
            {"name": f"n{j}", "children": []} for j in range(100)]} for i in range(30)])
        seen, path, after = [], "/t", None
        top = t.get("/t", **({"after": after} if after else {}))

        def walk(node):
            seen.append(node["path"])
            children = node.get("children", [])
            for child in children:
                walk(child)
            while "more" in node:
                node = t.get(node["path"], after=node["more"])
                for child in node.get("children", []):
                    walk(child)

        walk(top)
        assert len(seen) == len(set(seen)) == 1 + 30 + 3000, len(seen)


def hostile_lines(backend):
    with tractor(backend) as t:
        def ask(line):
            c = Connection(t.path)
            c.sock.sendall(line)
            try:
                return c.receive(), c
            except (EOFError, ConnectionResetError):
                return None, c

        for line, code in (
            (b'{"jsonrpc":"2.0","id":1,"method":NaN}\n', -32700),
            (b"[" * 100000 + b"\n", -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"supervisor.ping","method":"x"}\n', -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}\n', -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"a\x00b"}\n', -32700),
            (b'{"jsonrpc":"2.0","id":99999999999999999999,"method":"supervisor.ping"}\n', -32700),
            (b'{"jsonrpc":"2.0","id":1,"method":"\xc0\xaf"}\n', -32700),
            (b"[]\n", -32600), (b"{}\n", -32600), (b'"x"\n', -32600),
        ):
            answer, c = ask(line)
            assert answer and answer["error"]["code"] == code, (line[:60], answer)
            c.sock.sendall(b'{"jsonrpc":"2.0","id":"still","method":"supervisor.ping"}\n')
            assert c.receive() == {"jsonrpc": "2.0", "id": "still", "result": {}}
            c.close()
        assert t.call("supervisor.ping") == {}


def endless_line(backend):
    with tractor(backend) as t:
        c = Connection(t.path)
        chunk, sent = b"x" * 65536, 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += c.sock.send(chunk)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 8 * 1024 * 1024, sent
        memory_kib(t.status["pid"], 32 * 1024)
        assert t.call("supervisor.ping") == {}


def never_reads(backend):
    """A client that asks without end and never reads is no longer read from; everyone else is served."""
    with tractor(backend) as t:
        t.load(children=[sleeper(f"s{i}") for i in range(20)])
        c = Connection(t.path)
        c.sock.setblocking(False)
        line, sent = b'{"jsonrpc":"2.0","id":1,"method":"tree.get"}\n', 0
        try:
            while True:
                sent += c.sock.send(line * 100)
                t.call("supervisor.ping")
        except BlockingIOError:
            pass
        assert t.call("supervisor.ping") == {}
        memory_kib(t.status["pid"], 48 * 1024)


def too_many_connections(backend):
    with tractor(backend) as t:
        crowd, refused = [], None
        for _ in range(300):
            c = Connection(t.path)
            crowd.append(c)
            with contextlib.suppress(BrokenPipeError):  # who is turned away is told so unasked
                c.request("supervisor.ping")
            answer = c.receive()
            if "error" in answer:
                refused = answer
                break
        assert refused and refused["error"]["code"] == -32011, refused
        assert len(crowd) == 256, len(crowd)  # the main connection is one of 256
        assert t.call("supervisor.ping") == {}
        crowd.pop(0).close()
        crowd.pop().close()
        c = Connection(t.path)
        assert c.call("supervisor.ping") == {}
        # Whichever it hears of first.
        for last in (False, True):
            os.kill(t.status["pid"], signal.SIGSTOP)
            if last:
                crowd.append(Connection(t.path))
            crowd.pop(0).close()
            if not last:
                crowd.append(Connection(t.path))
            os.kill(t.status["pid"], signal.SIGCONT)
            assert crowd[-1].call("supervisor.ping") == {}


def other_user(backend):
    if os.geteuid() != 0:
        return
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        os.chmod(t.dir, 0o711)
        os.chmod(t.path, 0o666)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
                c = Connection(t.path)
                assert c.call("supervisor.ping") == {}
                for method, params in (("actor.cancel", {"path": "/t/a"}), ("tree.unload", {"path": "/t"}),
                                       ("actor.spawn", {"parent": "/t", "name": "z", "exec": ["true"]}),
                                       ("actor.set_limits", {"path": "/t/a", "limits": {}}), ("tree.get", {})):
                    error = expect_error(-32009, c.call, method, **params)
                    assert "root" in error.message, error.message
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert t.get("/t/a")["state"] == "ready"
        assert refusals(t) == 5


def refusals(t):
    """On record: in the journal where there is one."""
    if "No journal" in open(t.log_path).read():
        return open(t.log_path).read().count("refused ")
    subprocess.run(["journalctl", "--sync"], check=True)
    found = subprocess.run(["journalctl", "-ocat", f"_PID={t.status['pid']}", "TRACTOR_EVENT=refused"], check=True,
                           stdout=subprocess.PIPE, text=True)
    return found.stdout.count("refused ")


def slow_subscriber(backend):
    """A subscriber that gives no more credit loses events, is told how many, and slows nobody."""
    with tractor(backend) as t:
        c = Connection(t.path)
        ident = c.request("events.subscribe", {}, {"ctx": True, "credit": 2})
        c.receive()
        t.load(children=[sleeper(f"s{i}") for i in range(5)])
        c.receive(), c.receive()
        c.send({"jsonrpc": "2.0", "method": "$/credit", "params": {"id": ident, "n": 10}})
        c.request("supervisor.ping")
        c.receive()
        t.call("actor.restart", path="/t/s0")
        item = c.receive()
        assert item["method"] == "$/next" and item["params"]["lost"] > 0, item
        c.send({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": ident}})
        while True:
            message = c.receive()
            if message.get("id") == ident and "error" in message:
                assert message["error"]["code"] == -32800
                break


def heard(sock):
    """The items that are there now."""
    data = b""
    with contextlib.suppress(BlockingIOError):
        while part := sock.recv(1 << 16):
            data += part
    assert data.endswith(b"\n") or not data
    return [json.loads(line)["params"]["value"] for line in data.splitlines() if b"$/next" in line]


def about(items):
    return [(i["path"], i["to"] if i["event"] == "state" else i["event"]) for i in items]


def events_before_answers(backend):
    """On the asker's own connection the events come before the answer that tells of them; on another they are there when the
    answer is."""
    steps = [
        ("tree.load", {"tree": {"tractor": 1, "name": "u", "children": [sleeper("a")]}},
         [("/u", "loaded"), ("/u/a", "starting"), ("/u/a", "spawned"), ("/u/a", "ready"), ("/u", "ready")]),
        ("actor.spawn", {"parent": "/u", **sleeper("b", restart="temporary")}, [("/u/b", "added"), ("/u/b", "spawned")]),
        ("actor.spawn", {"parent": "/u", "name": "x", "exec": ["/no/such"], "restart": "temporary"},
         [("/u/x", "added"), ("/u/x", "exited"), ("/u/x", "removed")]),
        ("actor.restart", {"path": "/u/b"}, [("/u/b", "exited"), ("/u/b", "spawned"), ("/u/b", "ready")]),
        ("actor.set_limits", {"path": "/u/b", "limits": {}}, [("/u/b", "limits")]),
        ("actor.freeze", {"path": "/u/b"}, [("/u/b", "frozen")]),
        ("actor.thaw", {"path": "/u/b"}, [("/u/b", "thawed")]),
        ("nursery.open", {"parent": "/u", "name": "n"}, [("/u/n", "added")]),
        ("nursery.close", {"path": "/u/n"}, [("/u/n", "removed")]),
        ("tree.apply", {"tree": {"tractor": 1, "name": "u", "children": [sleeper("c")]}},
         [("/u/c", "added"), ("/u/a", "removed"), ("/u/c", "ready")]),
        ("actor.cancel", {"path": "/u/b"}, [("/u/b", "exited"), ("/u/b", "dead")]),
        ("tree.unload", {"path": "/u"}, [("/u/c", "exited"), ("/u/c", "removed"), ("/u", "removed")])]
    with tractor(backend) as t:
        asker, other = t.connect(), t.connect()
        for c in asker, other:
            c.request("events.subscribe", {}, {"ctx": True, "credit": 100000})
            c.receive()
        other.sock.setblocking(False)
        for keyed, (method, params, due) in [(keyed, step) for keyed in (False, True) for step in steps]:
            if backend == "process" and method in ("actor.freeze", "actor.thaw"):
                continue
            ident = asker.request(method, params, {"key": f"{method} {params.get('name')}"} if keyed else None)
            before, message = [], asker.receive()
            while "method" in message:
                before.append(message["params"]["value"])
                message = asker.receive()
            there = heard(other.sock)
            assert message["id"] == ident, message
            assert [e for e in about(before) if e in due] == due, (method, about(before))
            assert [e for e in about(there) if e in due] == due, (method, about(there))


def the_end_of_a_supervisor(backend):
    """Stopped in order it tells of every end; killed, of nothing. Then there is EOF, and no answer to what was open."""
    for kill_it in False, True:
        with tractor(backend) as t:
            t.load(children=[sleeper("a"), {"name": "s", "children": [sleeper("b")]}])
            subscriber, waiting = t.connect(), t.connect()
            subscriber.request("events.subscribe", {}, {"ctx": True, "credit": 100})
            epoch = subscriber.receive()["params"]["value"]["epoch"]
            waiting.request("actor.wait_for", {"name": "nobody"})
            waiting.sock.shutdown(socket.SHUT_WR)
            starting = t.connect()
            loading = starting.request("tree.load", {"tree": {"tractor": 1, "name": "u", "children": [sleeper("a", ready="notify")]}})
            while subscriber.receive()["params"]["value"]["event"] != "spawned":
                pass
            if kill_it:
                kill(t.status["pid"])
            else:
                t.owner.close()
            items = []
            try:
                while True:
                    message = subscriber.receive()
                    assert message["method"] == "$/next", message
                    items.append(message["params"]["value"])
            except EOFError:
                pass
            ended = [e for e in about(items) if e[1] in ("dead", "failed", "removed")]
            due = [] if kill_it else [(p, "dead") for p in ("/t", "/t/a", "/t/s", "/t/s/b", "/u", "/u/a")]
            assert sorted(e for e in ended if e[1] != "removed" or not e[0].startswith("/u")) == due, about(items)
            assert waiting.sock.recv(1) == b""
            if not kill_it:
                expect_error(-32002, starting.answer, loading)
            assert starting.sock.recv(1) == b""
            if kill_it:
                again = t.connect()
                again.request("events.subscribe", {}, {"ctx": True})
                assert again.receive()["params"]["value"]["epoch"] != epoch


def exit_of_a_supervisor(backend):
    """No process is its own; how it ended is told in the same words."""
    with tractor(backend) as t:
        t.load(children=[{"name": "stopped", "children": [sleeper("a")]},
                         {"name": "over", "auto_shutdown": "any_significant", "children": [
                             {"name": "a", "exec": ["sh", "-c", "exit 0"], "restart": "transient", "significant": True}]},
                         {"name": "failed", "strategy": "one_cancels_all", "children": [sleeper("a"), sleeper("b")]}],
               intensity={"max_restarts": 0, "within_ms": 10000}, on_give_up="isolate")
        assert t.call("actor.cancel", path="/t/stopped")["exit"].items() >= {"cause": "stop", "pid": 0}.items()
        events = t.events()
        kill(t.pid("/t/failed/a"))
        events.wait(lambda e: e["path"] == "/t" and e["event"] == "gave_up")
        for name, due in (("stopped", {"cause": "stop"}), ("over", {"cause": "exit", "code": 0}),
                          ("failed", {"cause": "signal", "signal": "SIGKILL"})):
            while "exit" not in (node := t.get(f"/t/{name}", depth=0)):  # its only child may just be ending
                events.next()
            assert node["exit"].items() >= {**due, "pid": 0, "core": False, "oom": False}.items(), node
            assert "pid" not in node and node["state"] == ("failed" if name == "failed" else "dead"), node


def by_id(backend):
    """`if_id` of somebody else, or of an earlier generation: nothing is done."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        old = t.get("/t/a")
        t.call("actor.restart", path="/t/a")
        now = t.get("/t/a")
        assert old["id"] != now["id"]
        for method, params in (("actor.kill", {"path": "/t/a"}), ("tree.get", {"path": "/t/a"}), ("tree.unload", {"path": "/t/a"}),
                               ("actor.spawn", {"parent": "/t", **sleeper("b")})):
            error = expect_error(-32004, t.main.answer, t.main.request(method, params, {"if_id": old["id"]}))
            assert error.data["type"] == "NoSuchActor" and old["id"] in error.message, error.message
        assert t.main.answer(t.main.request("tree.get", {"path": "/t/a"}, {"if_id": now["id"]}))["pid"] == now["pid"]
        assert [c["path"] for c in t.get("/t")["children"]] == ["/t/a"]


def freeze(backend):
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        pid = t.pid("/t/a")
        try:
            t.call("actor.freeze", path="/t/a")
        except RpcError as error:
            assert backend == "process" and error.code == -32010, error
            return
        assert t.get("/t/a")["frozen"] is True
        if backend != "process":
            cgroup = t.get("/t/a")["cgroup"]
            assert cgroup
        t.call("actor.thaw", path="/t/a")
        assert "frozen" not in t.get("/t/a") and t.pid("/t/a") == pid
        t.call("actor.freeze", path="/t/a")
        answer = t.call("actor.cancel", path="/t/a")
        assert answer["exit"]["signal"] == "SIGTERM", answer  # thawed first, so it could be asked


def unenforceable_limits(backend):
    with tractor(backend) as t:
        controllers = t.status["controllers"].split()
        if "memory" in controllers:
            return
        error = expect_error(-32010, t.load, children=[sleeper("a", limits={"MemoryMax": "64M"})])
        assert "MemoryMax" in error.message and "limits_optional" in error.message
        expect_error(-32004, t.get, "/t")
        t.load(children=[sleeper("a", limits={"MemoryMax": "64M"}, limits_optional=True)])
        error = expect_error(-32010, t.call, "actor.set_limits", path="/t/a", limits={"TasksMax": 10})
        assert "TasksMax" in error.message
        expect_error(-32602, t.call, "actor.set_limits", path="/t/a", limits={"MemoryMax": "lots"})


def unenforceable_limits_are_all_named(backend):
    """Of all nodes, in one error that blames who can't enforce them."""
    with tractor(backend) as t:
        controllers = t.status["controllers"].split()
        if "memory" in controllers or "pids" in controllers:
            return
        blame = ("the process backend enforces no limits" if backend == "process" else
                 "can't be enforced here: cgroup.controllers lacks memory, pids")
        other = ", or use another backend" if backend == "process" else ""
        tree = {"limits": {"TasksMax": 9, "MemoryMax": "64M"}, "children": [
            sleeper("a", limits={"MemoryHigh": "1M", "MemoryMax": "2M"}), sleeper("b", limits={"TasksMax": 1}, limits_optional=True)]}
        due = f"/t: MemoryMax, TasksMax; /t/a: MemoryMax, MemoryHigh: {blame}; set limits_optional to run without them{other}"
        for method in "tree.load", "tree.apply":
            error = expect_error(-32010, t.call, method, tree={"tractor": 1, "name": "t", **tree})
            assert error.message == due and error.data["actor"] == "/t", error
        many = [sleeper(f"n{i}", limits={"TasksMax": 1}) for i in range(20)]
        error = expect_error(-32010, t.load, children=many)
        assert "/t/n15: TasksMax; and of 4 more: " in error.message and "n16" not in error.message, error
        t.load(children=[sleeper("a")])
        for method, params in (("actor.set_limits", {"path": "/t/a"}), ("actor.spawn", {"parent": "/t", **sleeper("c")}),
                               ("nursery.open", {"parent": "/t", "name": "c"})):
            error = expect_error(-32010, t.call, method, **params, limits={"TasksMax": 1, "MemoryLow": "1M"})
            path = "/t/a" if "path" in params else "/t/c"
            assert error.message.startswith(f"{path}: MemoryLow, TasksMax: {blame}; "), error
        assert [c["path"] for c in t.get("/t")["children"]] == ["/t/a"]


def details_come_by_name(backend):
    """How a node is run and what of it does not hold; none of it comes unasked, and what is long is cut."""
    names = ["exec", "ready", "restart", "on_give_up", "intensity", "limits_skipped", "backoff_ms", "output", "stdout", "stderr"]
    with tractor(backend) as t:
        def details(path):
            node = t.get(path, fields=names, depth=0)
            return {k: node[k] for k in node if k != "path"}

        limited = {"limits": {"MemoryMax": "64M", "TasksMax": 10}, "limits_optional": True}
        have = t.status["controllers"].split()
        skipped = [n for n, c in (("MemoryMax", "memory"), ("TasksMax", "pids")) if c not in have]
        out = os.path.join(t.dir, "out")
        t.load(intensity={"max_restarts": 7, "within_ms": 1500}, on_give_up="isolate", **limited, children=[
            sleeper("a", restart="transient", **limited),
            {"name": "b", "exec": ["sh", "-c", "exec sleep 1000", "\u00e9" * 2000, "more"], "stdout": "null", "stderr": f"file:{out}",
             "ready": {"command": ["test", "-d", t.dir]}},
            {"name": "c", "exec": ["sh", "-c", "touch up; exec sleep 1000", *map(str, range(100))], "ready": {"file": "up"}, "cwd": t.dir}])
        assert not set(names) & set().union(*(set(n) for n in [t.get("/t"), *t.get("/t")["children"]]))
        none = {"limits_skipped": skipped} if skipped else {}
        assert details("/t") == {"intensity": {"max_restarts": 7, "within_ms": 1500}, "on_give_up": "isolate", **none}
        a = details("/t/a")
        assert a.pop("output") == "journal" or t.status["backend"] != "scope"
        assert a == {"exec": ["sleep", "1000"], "ready": "exec", "restart": "transient", **none}, a
        b = details("/t/b")
        assert b["ready"] == {"command": ["test", "-d", t.dir]} and b["restart"] == "permanent", b
        assert (b["stdout"], b["stderr"]) == ("null", f"file:{out}") and not {"output", "limits_skipped"} & set(b), b
        assert len("".join(b["exec"][:3]).encode()) + 2 * len(b["exec"][3][:-1]) in (2047, 2048) and b["exec"][3].endswith("\u00e9…")
        assert b["exec"][4:] == ["…"], b["exec"][4:]
        c = details("/t/c")
        assert c["exec"][3:] == [*map(str, range(61)), "…"] and c["ready"] == {"file": os.path.join(t.dir, "up")}, c
        events = t.events()
        t.call("actor.spawn", parent="/t", name="d", exec=["false"], backoff={"initial_ms": 60000, "max_ms": 60000, "jitter": 0})
        events.state("/t/d", "backoff")
        assert 30000 < details("/t/d")["backoff_ms"] <= 60000
        assert t.get("/t/a", fields=["exec"]) == {"path": "/t/a", "exec": ["sleep", "1000"]}


def supervisor_killed(backend):
    """A lost supervisor ends its tree cleanly in this version; its successor serves at once."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a"), {"name": "b", "exec": [BAD_ACTOR, "ignore-term", "hang"]}])
        a, b = t.pid("/t/a"), t.pid("/t/b")
        kill(t.status["pid"])
        try:
            while True:
                t.main.receive()
        except EOFError:
            pass
        t.main = t.connect()
        now = t.call("supervisor.status")
        assert now["pid"] != t.status["pid"] and now["keeper_pid"] == t.status["keeper_pid"]
        assert gone(a) and gone(b)
        assert t.get("/").get("children", []) == []
        t.load(children=[sleeper("a")])


if __name__ == "__main__":
    main([status, refused_by_name, wrong_trees, load_and_unload, spawn_and_cancel, kill_and_restart, environment,
          readiness, channel, identity, output_files, many_values, hostile_lines, endless_line, never_reads,
          too_many_connections, other_user, slow_subscriber, events_before_answers, the_end_of_a_supervisor, exit_of_a_supervisor,
          by_id, freeze, unenforceable_limits, unenforceable_limits_are_all_named, details_come_by_name, supervisor_killed])
