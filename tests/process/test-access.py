#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who asks and what they may do: clients by their credentials, actors by their channel and their place in the tree."""

import contextlib
import itertools
import json
import os
import re
import shutil
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import LIMIT, Connection, RpcError, expect_error, gone, main, skip, sleeper, tractor  # noqa: E402

# One that any user can run: what runs this test may stand in somebody's home.
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable

# An actor whose channel is the test's: what is written to a socket of its own goes to the supervisor and back.
RELAY = """
import os, select, socket, sys
channel = socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"]))
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen(1)
channel.sendall(b'{"jsonrpc":"2.0","method":"$/ready"}\\n')
test = door.accept()[0]
while True:
    for s in select.select([channel, test], [], [])[0]:
        data = s.recv(65536)
        if not data:
            sys.exit(0)
        (test if s is channel else channel).sendall(data)
"""


def relay(directory, name, **keys):
    script = os.path.join(directory, "relay.py")
    if not os.path.exists(script):
        with open(script, "w") as f:
            f.write(RELAY)
    return {"name": name, "exec": [PYTHON, script, os.path.join(directory, name + ".sock")], "channel": "fd",
            "ready": "channel", "restart": "temporary", "start_timeout_ms": 20000, **keys}


def through(t, directory, name):
    """A connection that is an actor's channel."""
    connection = Connection(os.path.join(directory, name + ".sock"))
    t.connections.append(connection)
    return connection


def actor_requests(backend):
    """An actor's requests are served as its own: itself and below, nobody else's."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api"), sleeper("db")])
        t.load(name="other", children=[sleeper("x")])
        actor = through(t, d, "api")
        assert actor.call("supervisor.ping") == {}
        node = actor.call("tree.get", path="/shop/api")
        assert node["path"] == "/shop/api" and node["pid"] == t.pid("/shop/api"), node
        for path in ("/shop", "/shop/db", "/other", "/other/x", "/"):
            error = expect_error(-32009, actor.call, "tree.get", path=path)
            assert "default: an actor" in error.message, error.message
            expect_error(-32009, actor.call, "actor.cancel", path=path)
        expect_error(-32009, actor.call, "supervisor.status")
        expect_error(-32009, actor.call, "tree.load", tree={"tractor": 1, "name": "new", "children": []})
        expect_error(-32009, actor.call, "actor.set_limits", path="/shop/api", limits={})
        expect_error(-32009, actor.call, "actor.spawn", parent="/shop", **sleeper("more"))
        expect_error(-32009, actor.call, "no.such.method")
        names = [c["path"] for tree in t.get("/")["children"] for c in tree["children"]]
        assert names == ["/shop/api", "/shop/db", "/other/x"], names
        assert t.get("/shop/db")["state"] == t.get("/other/x")["state"] == "ready"


def actor_dialog(backend):
    """A dialog on a channel, and an actor that ends itself by a request: both end with the channel, nobody else's does."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api"), sleeper("db")])
        events = t.events()
        actor = through(t, d, "api")
        actor.request("events.subscribe", {"path": "/shop/api"}, {"ctx": True})
        assert actor.receive()["method"] == "$/started"
        pid = t.pid("/shop/api")
        actor.request("actor.cancel", {"path": "/shop/api", "grace_ms": 0})
        events.state("/shop/api", "dead")
        assert gone(pid)
        assert t.get("/shop/db")["state"] == "ready"
        assert t.get("/shop/api")["exit"]["cause"] == "stop"


def bounds_of_channel(backend):
    """Lines of 128 KiB and 4096 values, as the protocol says; a longer reply than the actor takes is an error."""
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, "api", description="x" * 900), relay(d, "web")])
        actor = through(t, d, "api")
        actor.request("tree.validate", {"tree": [[]] * 5000})
        assert actor.receive()["error"]["code"] == -32700
        assert actor.call("supervisor.ping") == {}
        actor.send({"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1", "max_line": 4096}})
        assert actor.receive()["params"]["max_line"] == 128 * 1024
        assert actor.call("tree.get", path="/shop/api")["description"] == "x" * 900
        web = through(t, d, "web")
        web.request("supervisor.ping", {"x": "y" * (129 * 1024)})
        assert web.receive()["error"]["code"] == -32700
        assert actor.call("supervisor.ping") == {}


def canceller(backend):
    """Those who are asked to stop hear from whom: the client or the actor that asked, or the supervisor itself."""
    hello = {"jsonrpc": "2.0", "method": "$/hello", "params": {"protocol": "tractor/1"}}
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        t.load(name="shop", children=[relay(d, n) for n in ("a", "b", "c")])
        actors = {n: through(t, d, n) for n in "abc"}
        for actor in actors.values():
            actor.send(hello)
            assert actor.receive()["method"] == "$/hello"
        t.main.request("actor.cancel", {"path": "/shop/a", "reason": "enough"})
        cancel = actors["a"].receive()
        assert cancel["method"] == "$/cancel", cancel
        assert cancel["params"]["canceller"] == f"@client/{os.getpid()}", cancel
        assert cancel["params"]["reason"] == "enough" and cancel["params"]["id"] is None, cancel
        actors["b"].request("actor.cancel", {"path": "/shop/b"})
        cancel = actors["b"].receive()
        assert cancel["params"]["canceller"] == "/shop/b" and cancel["params"]["reason"] == "stop", cancel
        expect_error(-32602, t.connect().call, "tree.unload", path="/shop", reason="x" * 1025)
        t.connect().request("tree.unload", {"path": "/shop"})
        cancel = actors["c"].receive()
        assert cancel["params"]["canceller"] == f"@client/{os.getpid()}", cancel
        for actor in actors.values():
            actor.close()



# --- the matrix ---

OPERATORS, OPERATOR, STRANGER, OWNER = 2001, 1001, 65534, 65533
RULES = [
    {"name": "no secrets", "who": {"group": OPERATORS}, "methods": "*", "subtree": "/shop/secret", "allow": False},
    {"name": "operators", "who": {"user": [OPERATOR, 7], "group": OPERATORS}, "subtree": "/shop", "allow": True,
     "methods": ["tree.get", "tree.load", "actor.*", "events.subscribe"]},
    {"name": "web may restart", "who": {"actor": "/web/*"}, "methods": ["actor.restart"], "subtree": "/shop/api", "allow": True},
    {"name": "db sees nothing", "who": {"actor": "/shop/db"}, "methods": ["*"], "allow": False},
]
PATHS = ["/", "/shop", "/shop/api", "/shop/db", "/shop/secret", "/web", "/web/x", "/web/db"]
# What of a request's parameters it is about. Each is made so that it fails once it is let through.
PATH, PARENT, TREE, NAME, SELF, ALL = range(6)
METHODS = {"supervisor.ping": ALL, "supervisor.status": ALL, "supervisor.reexec": ALL, "debug.lock": ALL, "debug.unlock": ALL,
           "tree.get": PATH, "tree.unload": PATH, "events.subscribe": PATH, "tree.load": TREE, "tree.apply": TREE,
           "tree.validate": TREE, "actor.spawn": PARENT, "nursery.open": PARENT, "actor.find": NAME, "actor.wait_for": NAME,
           **{f"actor.{m}": PATH for m in ("cancel", "kill", "restart", "freeze", "thaw", "set_limits", "connect", "attach")},
           "nursery.close": PATH, "actor.register": SELF, "actor.unregister": SELF}


def methods_served():
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "supervisor", "methods.c")
    return set(re.findall(r'^        \{ "([a-z_.]+)", method_', open(source).read(), re.M))


def within(top, path):
    return top == "/" or path == top or path.startswith(top + "/")


def granted(who, rules, method, path):
    """What tractor-access(5) says, in other words than the supervisor's: None, or the rule that is in the way."""
    if who.get("uid", -1) in (0, who.get("owner")):
        return None
    for rule in rules:
        wanted = rule["who"]
        if ("actor" in wanted) != ("actor" in who):
            continue
        if "actor" in who and not re.fullmatch(wanted["actor"].replace("*", ".+"), who["actor"]):
            continue
        if "user" in wanted and who["uid"] not in wanted["user"] or "group" in wanted and wanted["group"] not in who["groups"]:
            continue
        listed = [rule["methods"]] if isinstance(rule["methods"], str) else rule["methods"]
        if not any(re.fullmatch(m.replace(".", r"\.").replace("*", ".*"), method) for m in listed):
            continue
        top = rule.get("subtree", "/")
        if path is None and (rule["allow"] or top == "/") or path is not None and (
                within(top, path) or not rule["allow"] and within(path, top)):
            return None if rule["allow"] else "10-shop.json: " + rule["name"]
    if method == "supervisor.ping":
        return None
    if "actor" in who:
        tree = "/" + who["actor"].split("/")[1]
        if method in ("actor.find", "actor.wait_for", "actor.connect"):
            return None if path is None or within(tree, path) else "default: "
        if re.match(r"(actor|nursery)\.|tree\.(get|unload)$|events\.subscribe$", method) and within(who["actor"], path):
            return "default: " if method in ("actor.set_limits", "tree.unload") and path == who["actor"] else None
    return "default: "


def ask(connection, method, path):
    """The code of the error, which each of these requests ends in, or 0."""
    about = METHODS[method]
    params = {PATH: {"path": path, "limits": 1, "grace_ms": "x"}, PARENT: {"parent": path, "want": 1},
              TREE: {"tree": {"name": path[1:], "tractor": "no"}}, NAME: {"name": "nobody"}, SELF: {"name": 5}, ALL: {}}[about]
    try:
        connection.answer(connection.request(method, params, {"if_id": "0", "deadline_ms": 1}))
    except RpcError as error:
        return error
    return None


def check(t, people, rules):
    assert set(METHODS) == methods_served(), set(METHODS) ^ methods_served()
    before = t.get("/", fields=["pid", "generation", "restarts", "limits", "state"])
    seen = set()
    for (who, connection), method, path in itertools.product(people, sorted(METHODS), PATHS):
        about = METHODS[method]
        if about in (NAME, SELF, ALL) and path != "/" or about == TREE and path.count("/") != 1 or about == TREE and path == "/":
            continue
        rule = granted(who, rules, method, None if about == NAME else who.get("actor", "/") if about == SELF else path)
        error = ask(connection, method, path)
        refused = error is not None and error.code == -32009
        assert refused == (rule is not None), f"{who}: {method} {path}: {rule}, but {error}"
        assert not refused or rule in error.message, f"{who}: {method} {path}: {rule}, but {error}"
        seen.add((refused, rule or "allowed"))
    after = t.get("/", fields=["pid", "generation", "restarts", "limits", "state"])
    assert before == after, (before, after)
    return seen


@contextlib.contextmanager
def policy(**files):
    """A folder of rules and the environment that names it."""
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o711)
        folder = os.path.join(d, "tractor", "access.d")
        os.makedirs(folder)
        for name, rules in files.items():
            with open(os.path.join(folder, name.replace("_", "-") + ".json"), "w") as f:
                f.write(rules if isinstance(rules, str) else json.dumps(rules))
        yield folder, {"XDG_CONFIG_HOME": d}


def load_trees(t, d):
    t.load(name="shop", children=[relay(d, "api"), relay(d, "db"), sleeper("secret")])
    t.load(name="web", children=[relay(d, "x", user=STRANGER), sleeper("db")] if os.geteuid() == 0 else [relay(d, "x")])


def root_only():
    if os.geteuid() != 0:
        skip("not root: nobody else can be")


def matrix(backend):
    """Every method × root, operators by rule, strangers, actors of this and of another tree × every path."""
    root_only()
    with policy(**{"10_shop": RULES}) as (_, env), tempfile.TemporaryDirectory() as d, tractor(backend, env=env) as t:
        os.chmod(d, 0o777)
        load_trees(t, d)
        people = [({"uid": 0, "groups": []}, t.connect()),
                  ({"uid": OPERATOR, "groups": [OPERATORS]}, t.connect_as(OPERATOR, [5, OPERATORS])),
                  ({"uid": OPERATOR, "groups": [OPERATOR]}, t.connect_as(OPERATOR)),
                  ({"uid": STRANGER, "groups": [OPERATORS]}, t.connect_as(STRANGER, [OPERATORS])),
                  ({"uid": STRANGER, "groups": []}, t.connect_as(STRANGER))]
        people += [({"actor": path}, through(t, d, path.split("/")[2])) for path in ("/shop/api", "/shop/db", "/web/x")]
        seen = check(t, people, RULES)
        assert {rule for _, rule in seen} == {"allowed", "default: ", "10-shop.json: no secrets", "10-shop.json: db sees nothing"}


def matrix_of_user(backend):
    """The same of a supervisor that is not root's: its owner and root may do everything."""
    root_only()
    if backend != "process":
        return
    with policy() as (_, env), tempfile.TemporaryDirectory() as d, tractor(backend, env=env, user=OWNER) as t:
        os.chmod(d, 0o777)
        t.load(name="shop", children=[relay(d, "api"), sleeper("db"), sleeper("secret")])
        check(t, [({"uid": 0, "groups": []}, t.connect()), ({"uid": OWNER, "owner": OWNER, "groups": []}, t.connect_as(OWNER)),
                  ({"uid": STRANGER, "groups": []}, t.connect_as(STRANGER)), ({"actor": "/shop/api"}, through(t, d, "api"))], [])


# --- files ---

def wrong_files(backend):
    """A wrong file: all problems are told, nobody but root and the owner is served, and the log says so."""
    root_only()
    good = [{"name": "all", "who": "anyone", "methods": "*", "allow": True}]
    wrong = [{"name": "a", "who": {"user": -1, "colour": "red"}, "methods": ["actor.fly", "tree.*"], "subtree": "shop"},
             {"name": "a", "who": "somebody", "methods": [], "allow": "yes"}, 5]
    with policy(**{"10_good": good, "20_wrong": wrong, "30_broken": "[{]"}) as (folder, env), tractor(backend, env=env) as t:
        os.symlink("10-good.json", os.path.join(folder, "40-link.json"))
        status = t.call("supervisor.status")["access"]
        assert status["state"] == "wrong" and status["rules"] == 0, status
        pointers = {p["pointer"] for p in status["problems"]}
        assert pointers == {"/20-wrong.json/0/who/user", "/20-wrong.json/0/who/colour", "/20-wrong.json/0/methods/0",
                            "/20-wrong.json/0/subtree", "/20-wrong.json/0", "/20-wrong.json/1/name", "/20-wrong.json/1/who",
                            "/20-wrong.json/1/methods", "/20-wrong.json/1/allow", "/20-wrong.json/2", "/30-broken.json"}, pointers
        stranger = t.connect_as(STRANGER)
        error = expect_error(-32009, stranger.call, "supervisor.ping")
        assert "wrong" in error.message, error.message
        assert t.call("supervisor.ping") == {}
        assert "access.d: /20-wrong.json/1/who" in open(t.log_path).read()


def untrusted_files(backend):
    """Rules that others could have written are no rules: owner, mode, links, kinds of file."""
    root_only()
    good = [{"name": "all", "who": "anyone", "methods": "*", "allow": True}]

    def expect(spoil, what):
        with policy(**{"10_good": good}) as (folder, env):
            spoil(folder, os.path.join(folder, "10-good.json"))
            with tractor(backend, env=env) as t:
                status = t.call("supervisor.status")["access"]
                assert status["state"] == ("wrong" if what else "read"), status
                assert not what or what in status["problems"][0]["message"], status
                connection = t.connect_as(STRANGER)
                if what:
                    expect_error(-32009, connection.call, "tree.get")
                else:
                    connection.call("tree.get")

    def link(folder, path):
        os.rename(path, os.path.join(folder, "real"))
        os.symlink("real", path)

    def fifo(folder, path):
        os.unlink(path)
        os.mkfifo(path)

    expect(lambda folder, path: None, None)
    expect(lambda folder, path: os.chown(path, STRANGER, 0), "belongs neither")
    expect(lambda folder, path: os.chmod(path, 0o664), "can be written to")
    expect(lambda folder, path: os.chmod(folder, 0o777), "can be written to")
    expect(lambda folder, path: os.chown(folder, STRANGER, 0), "belongs neither")
    expect(link, "symbolic link")
    expect(fifo, "not a regular file")
    expect(lambda folder, path: open(path, "a").write(" " * 300000), "longer")


def names(backend):
    """Users and groups by name are looked up outside the loop; until then, and for one that is not there, nobody is served."""
    root_only()
    by_name = [{"name": "nobody", "who": {"user": "nobody", "group": ["daemon", "nogroup"]}, "methods": "tree.get", "allow": True}]
    with policy(**{"10_names": by_name}) as (_, env), tractor(backend, env=env) as t:
        connection = t.connect_as(STRANGER)
        deadline = time.monotonic() + LIMIT
        while t.call("supervisor.status")["access"]["state"] == "reading":
            assert time.monotonic() < deadline
        assert t.call("supervisor.status")["access"]["state"] == "read"
        assert connection.call("tree.get")["path"] == "/"
        expect_error(-32009, t.connect_as(STRANGER - 1).call, "tree.get")
    by_name[0]["who"] = {"user": ["nobody", "no-such-user-here"], "group": "no-such-group"}
    with policy(**{"10_names": by_name}) as (_, env), tractor(backend, env=env) as t:
        while t.call("supervisor.status")["access"]["state"] == "reading":
            assert time.monotonic() < deadline
        status = t.call("supervisor.status")["access"]
        assert [p["pointer"] for p in status["problems"]] == ["/10-names.json/0/who/user/1", "/10-names.json/0/who/group"], status


def audit(backend):
    """A stranger who asks a thousand times writes a handful of lines; the rest is counted. Another user's are still heard."""
    root_only()
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        stranger = t.connect_as(STRANGER)
        for _ in range(1000):
            expect_error(-32009, stranger.call, "actor.cancel", path="/t/a")
        expect_error(-32009, t.connect_as(STRANGER - 1).call, "tree\nevil", path="/t/a")
        log = open(t.log_path).read()
        assert 10 <= log.count("refused actor.cancel about /t/a to @client/") <= 100, log.count("refused")
        assert "refused a method about / to @client/" in log and "evil" not in log
        assert f"uid {STRANGER}, pid " in log
        expect_error(-32009, t.connect_as(STRANGER - 2).call, "tree.get", path="/x" * 100000)
        assert max(map(len, open(t.log_path))) < 1000
        status = t.call("supervisor.status")["access"]
        assert status["refused"] == 1002 and 1002 - status["unlogged"] == open(t.log_path).read().count("refused "), status


# --- starting programs ---

OPS = [{"name": "ops start things", "who": {"group": OPERATORS}, "methods": ["tree.*", "actor.*"], "subtree": "/ops", "allow": True}]


def as_oneself(backend):
    """A client that may start programs starts them as itself, whatever it says or leaves out, and with nothing of ours."""
    root_only()
    show = "{ id -u; id -g; id -G; grep NoNewPrivs /proc/self/status | cut -f2; ./id -u; env | grep SECRET | wc -l; } > $OUT 2>&1"
    with policy(**{"10_ops": OPS}) as (_, env), tempfile.TemporaryDirectory() as d, \
            tractor(backend, env={**env, "SECRET": "ours"}) as t:
        os.chmod(d, 0o777)
        shutil.copy("/usr/bin/id", f"{d}/id")
        os.chmod(f"{d}/id", 0o4755)
        operator = t.connect_as(OPERATOR, [5, OPERATORS])

        def child(name, **keys):
            return {"name": name, "exec": ["/bin/sh", "-c", show], "cwd": d, "env": {"OUT": f"{d}/{name}", "PATH": "/usr/bin:/bin"},
                    "ready": "exited", "restart": "transient", **keys}

        operator.call("tree.load", tree={"tractor": 1, "name": "ops", "children": [
            child("implied"), child("stated", user=OPERATOR), child("group", group=5, supplementary_groups=[OPERATORS]),
            child("alone", supplementary_groups=[]), child("capless", capabilities=[])]})
        for name, group, groups in (("implied", 1001, {1001, 5, 2001}), ("stated", 1001, {1001, 5, 2001}), ("group", 5, {5, 2001}),
                                    ("alone", 1001, {1001}), ("capless", 1001, {1001, 5, 2001})):
            lines = open(f"{d}/{name}").read().split("\n")
            assert [lines[0], lines[1], lines[3], lines[4], lines[5]] == ["1001", str(group), "1", "1001", "0"], (name, lines)
            assert set(map(int, lines[2].split())) == groups, (name, lines)
        answer = operator.call("actor.spawn", parent="/ops", **sleeper("late"))
        assert os.stat(f"/proc/{answer['pid']}").st_uid == OPERATOR
        # What it may not look into, it can't stand in; the readiness command is no other.
        os.chmod(f"{d}/id", 0o700)
        error = expect_error(-32012, operator.call, "actor.spawn", parent="/ops", name="nosy", exec=["true"], cwd="/root/")
        assert error.data["step"] == "cwd", error.data
        error = expect_error(-32012, operator.call, "actor.spawn", parent="/ops", name="runs", exec=["./id"], cwd=d)
        assert error.data["step"] == "exec", error.data
        operator.call("actor.spawn", parent="/ops", **sleeper("asks", ready={
            "command": ["/bin/sh", "-c", f"id -u >{d}/asked"]}))
        events = t.events("/ops/asks")
        if t.get("/ops/asks")["state"] != "ready":
            events.state("/ops/asks", "ready")
        assert open(f"{d}/asked").read() == "1001\n"


def nothing_more(backend):
    """What would give more than one's own rights is refused, with all of it named, and nothing is left of the request."""
    root_only()
    beyond = [("user", 0), ("user", "root"), ("user", STRANGER), ("group", 0), ("group", "root"), ("supplementary_groups", [0]),
              ("supplementary_groups", [OPERATORS, 6]), ("capabilities", ["CAP_NET_ADMIN"]), ("no_new_privs", False),
              ("stdout", "file:/etc/tractor-was-here"), ("stderr", "file:/etc/tractor-was-here"), ("stdout", "inherit"),
              ("ready", {"socket": "/run/secret.sock"}), ("ready", {"file": "/root/secret"}), ("nice", -1), ("oom_score_adj", -1),
              ("rlimits", {"NPROC": "infinity", "NOFILE": "infinity"})]
    with policy(**{"10_ops": OPS}) as (_, env), tractor(backend, env=env) as t:
        t.load(name="ops", children=[sleeper("a")])
        operator = t.connect_as(OPERATOR, [OPERATORS])
        before = t.get("/", fields=["pid", "generation"])
        for key, value in beyond:
            error = expect_error(-32009, operator.call, "actor.spawn", parent="/ops", **sleeper("x", **{key: value}))
            assert [p["pointer"] for p in error.data["problems"]] == ["/" + key], (key, error.data)
            assert "default: nobody starts" in error.message, error.message
        t.call("tree.unload", path="/ops")
        wrong = [sleeper("x", user=0, nice=-3), {"name": "s", "children": [sleeper("y", no_new_privs=False)]}]
        error = expect_error(-32009, operator.call, "tree.load", tree={"tractor": 1, "name": "ops", "children": wrong})
        assert [p["pointer"] for p in error.data["problems"]] == [
            "/children/0/user", "/children/0/nice", "/children/1/children/0/no_new_privs"], error.data
        assert t.get("/")["children"] == [] and before["children"], before
        assert not os.path.exists("/etc/tractor-was-here")
        # Root itself may all of this.
        t.load(name="ops", children=[sleeper("a", user=STRANGER, no_new_privs=False)])


if __name__ == "__main__":
    main([actor_requests, actor_dialog, bounds_of_channel, canceller, matrix, matrix_of_user, wrong_files, untrusted_files, names,
          audit, as_oneself, nothing_more])
