#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installed as a service: socket activation, trees at start, deaths of keeper and supervisor, stop in order."""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BUILD, Connection, Events, LIMIT, connect_as, expect_error, gone, kill  # noqa: E402

SYSTEM, TREES = "/run/tractor/control.sock", "/etc/tractor/trees"


def run(*command, **options):
    return subprocess.run(command, check=True, capture_output=True, text=True, **options).stdout.strip()


def install():
    run("meson", "install", "--no-rebuild", "-C", BUILD)
    os.makedirs(TREES)
    order = 'trap "echo $TRACTOR_PATH stopped >>/run/order; exit 0" TERM; while :; do sleep 1000 & wait; done'
    with open(f"{TREES}/shop.json", "w") as f:
        json.dump({"tractor": 1, "name": "shop", "children": [
            {"name": "db", "exec": ["sh", "-c", order]},
            {"name": "web", "exec": ["sh", "-c", order], "depends": ["db"]}]}, f)
    with open(f"{TREES}/wrong.json", "w") as f:
        f.write('{"tractor": 1, "name": "wrong", "children": [{}]}')
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "tractord.socket")


def serving(path=SYSTEM):
    """The tree of the configuration directory, once it is ready."""
    events = Events(path)
    connection = Connection(path)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        tree = connection.call("tree.get")
        shop = next((c for c in tree.get("children", []) if c["path"] == "/shop"), None)
        if shop and shop["state"] == "ready":
            return connection, {c["path"]: c for c in shop["children"]}
        events.next()
    raise AssertionError("the tree did not come up")


def activated_by_its_socket():
    print(run("tractorctl", "--system", "status"))
    connection, shop = serving()
    status = connection.call("supervisor.status")
    assert status["backend"] == "scope" and status["instance"] == "sys", status
    assert shop["/shop/web"]["unit"] == "tractor-sys-shop-web-1.scope", shop
    assert run("systemctl", "is-active", "tractord.service") == "active"
    assert len(connection.call("tree.get")["children"]) == 1  # the wrong file was refused, and said so:
    assert "wrong.json" in run("journalctl", "--no-pager", "-u", "tractord.service")


def hardening_does_not_reach_actors():
    connection, shop = serving()
    status = open(f"/proc/{shop['/shop/db']['pid']}/status").read()
    assert "Seccomp:\t0" in status, status
    status = open(f"/proc/{connection.call('supervisor.status')['pid']}/status").read()
    assert "Seccomp:\t2" in status and "NoNewPrivs:\t1" in status, status


def write_rules(path, name, who, subtree="/"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump([{"name": name, "who": who, "methods": "tree.get", "subtree": subtree, "allow": True}] if who else [], f)


def rules_of_the_machine():
    """The administrator's file takes the place of the vendor's of its name, and one of nothing switches it off."""
    share = next(p for p in ("/usr/local/share/tractor/access.d", "/usr/share/tractor/access.d")
                 if os.path.exists(p + "/50-operators.json.example"))
    write_rules(f"{share}/10-a.json", "vendor's a", {"user": 1001})
    write_rules(f"{share}/20-b.json", "vendor's b", {"user": 1002})
    write_rules(f"{share}/30-c.json", "vendor's c", {"user": 1003}, "/shop")
    write_rules("/etc/tractor/access.d/10-a.json", "our a", {"user": 1004})
    write_rules("/etc/tractor/access.d/20-b.json", "", None)
    kill(serving()[0].call("supervisor.status")["pid"])
    connection, _ = serving()
    assert connection.call("supervisor.status")["access"]["state"] == "read"
    os.chmod(SYSTEM, 0o666)
    assert connect_as(SYSTEM, 1004).call("tree.get")["path"] == "/"
    assert connect_as(SYSTEM, 1003).call("tree.get", path="/shop")["path"] == "/shop"
    for uid, path in ((1001, "/"), (1002, "/"), (1003, "/"), (1005, "/shop")):
        expect_error(-32009, connect_as(SYSTEM, uid).call, "tree.get", path=path)
    run("journalctl", "--sync")
    record = json.loads(run("journalctl", "--no-pager", "-o", "json", "TRACTOR_EVENT=refused", "TRACTOR_PEER_UID=1005"))
    assert record["TRACTOR_METHOD"] == "tree.get" and record["TRACTOR_PATH"] == "/shop", record
    assert record["TRACTOR_RULE"].startswith("default: ") and record["TRACTOR_PEER"].startswith("@client/"), record
    assert record["MESSAGE_ID"] in open("/usr/local/include/tractor/messages.h").read(), record


def reload_is_harmless():
    before = serving()[1]
    run("systemctl", "daemon-reexec")
    after = serving()[1]
    assert {p: n["pid"] for p, n in before.items()} == {p: n["pid"] for p, n in after.items()}


def reload_changes_what_differs():
    """SIGHUP of the main process; a wrong file is told of, and touches nothing."""
    connection, before = serving()
    events = Events(SYSTEM)
    with open(f"{TREES}/shop.json") as f:
        old = f.read()
    tree = json.loads(old)
    tree["children"][1]["umask"] = "077"
    tree["children"].append({"name": "more", "exec": ["sleep", "1000"]})
    with open(f"{TREES}/shop.json", "w") as f:
        json.dump(tree, f)
    with open(f"{TREES}/new.json", "w") as f:
        json.dump({"tractor": 1, "name": "new", "children": [{"name": "here", "exec": ["sh", "-c", "pwd >where; exec sleep 1000"],
                                                              "cwd": "/run"}, {"name": "there", "exec": ["sleep", "9"]}]}, f)
    run("systemctl", "reload", "tractord.service")
    events.state("/shop/web", "starting")
    for path in ("/shop/web", "/shop/more", "/new"):
        while connection.call("tree.get", path=path)["state"] != "ready":
            events.next()
    after = serving()[1]
    assert set(after) == {"/shop/db", "/shop/web", "/shop/more"}, after
    assert after["/shop/db"]["pid"] == before["/shop/db"]["pid"] and after["/shop/web"]["pid"] != before["/shop/web"]["pid"]
    assert os.readlink(f"/proc/{connection.call('tree.get', path='/new/there')['pid']}/cwd") == TREES
    with open(f"{TREES}/shop.json", "w") as f:
        f.write(old)
    os.unlink(f"{TREES}/new.json")
    run("systemctl", "reload", "tractord.service")
    web = after["/shop/web"]["pid"]
    while True:
        shop = serving()[1]
        if "/shop/more" not in shop and shop["/shop/web"]["state"] == "ready" and shop["/shop/web"]["pid"] != web:
            break
        events.next()
    connection.call("tree.unload", path="/new")  # whose file is gone, which alone does not unload it
    events.close()


def many_trees_with_names():
    """Of what the service's owner has put there nothing is refused, however many names are to be looked up."""
    connection, _ = serving()
    events = Events(SYSTEM)
    many = [f"many{i}" for i in range(70)]
    for name in many:
        with open(f"{TREES}/{name}.json", "w") as f:
            json.dump({"tractor": 1, "name": name, "children": [
                {"name": "a", "exec": ["true"], "user": "nobody", "cwd": "/", "restart": "temporary"}]}, f)
    run("systemctl", "reload", "tractord.service")
    left = {f"/{name}" for name in many}
    while left:
        left.discard(events.wait(lambda e: e["event"] == "loaded", "loaded trees")["path"])
    for name in many:
        os.unlink(f"{TREES}/{name}.json")
        connection.call("tree.unload", path=f"/{name}")
    events.close()


def supervisor_killed():
    """In this version its trees end with it; those of the configuration directory are loaded by the successor."""
    connection, shop = serving()
    status = connection.call("supervisor.status")
    kill(status["pid"])
    for node in shop.values():
        assert gone(node["pid"])
    again, after = serving()
    now = again.call("supervisor.status")
    assert now["keeper_pid"] == status["keeper_pid"] and now["pid"] != status["pid"]


def stopped_in_order():
    serving()
    if os.path.exists("/run/order"):
        os.unlink("/run/order")
    run("systemctl", "stop", "tractord.service", "tractord.socket")
    assert open("/run/order").read().split() == ["/shop/web", "stopped", "/shop/db", "stopped"]
    left = run("systemctl", "list-units", "--plain", "--no-legend", "--all", "tractor-*")
    assert left == "", left


def for_a_user():
    env = dict(os.environ, XDG_RUNTIME_DIR="/run/user/0")
    run("systemctl", "start", "user@0.service")
    run("systemctl", "--user", "daemon-reload", env=env)
    run("systemctl", "--user", "start", "tractord.socket", env=env)
    c = Connection("/run/user/0/tractor/control.sock")
    status = c.call("supervisor.status")
    assert status["instance"] == "usr" and status["backend"] == "scope", status
    c.call("tree.load", tree={"tractor": 1, "name": "mine", "children": [{"name": "a", "exec": ["sleep", "1000"]}]})
    node = c.call("tree.get", path="/mine/a")
    assert "user@0.service" in open(f"/proc/{node['pid']}/cgroup").read()
    run("systemctl", "--user", "stop", "tractord.service", "tractord.socket", env=env)
    assert gone(node["pid"])


if __name__ == "__main__":
    install()
    for test in (activated_by_its_socket, hardening_does_not_reach_actors, rules_of_the_machine, reload_is_harmless,
                 reload_changes_what_differs, many_trees_with_names,
                 supervisor_killed, stopped_in_order, for_a_user):
        print(f"-- {test.__name__}", file=sys.stderr, flush=True)
        test()
