#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What children say they have come to, and their owner is told; and nurseries filled without waiting for answers."""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from peers import HELLO, Client, ask, echo  # noqa: E402
from tractor import gone, kill, main, skip, sleeper, tractor  # noqa: E402

# Lines from a file to its channel, then what is asked of it.
SAYS = 'cat "$1" >&3; eval "$2"'


class Nursery:
    def __init__(self, t, **keys):
        self.t, self.client, self.n = t, Client(t.path, hello=True), 0
        self.path = self.client.call("nursery.open", parent="/", name="n", strategy="one_for_one", **keys)["path"]

    def spawn(self, *lines, then="", **keys):
        self.n += 1
        name = os.path.join(self.t.dir, f"lines-{self.n}")
        with open(name, "w") as f:
            f.writelines(json.dumps({"jsonrpc": "2.0", **line}) + "\n" for line in lines)
        keys = {"restart": "temporary", **keys}
        return self.client.call("actor.spawn", parent=self.path, name=f"c{self.n}", channel="fd",
                                exec=["sh", "-c", SAYS, "sh", name, then], **keys)

    def end(self):
        frame = self.client.until("$/child_exited")
        assert frame["path"] == f"{self.path}/c{self.n}", frame
        return frame

    def close(self):
        self.client.close()


def says(method, **params):
    return {"method": method, "params": params}


def told(backend):
    with tractor(backend) as t:
        n = Nursery(t)
        value = {"sum": 42, "exact": 9007199254740993, "list": [None, 1.50, "ü"]}
        n.spawn(says("$/result", value=value))
        end = n.end()
        assert (end["result"], end["exit"]["code"]) == (value, 0) and "error" not in end, end
        n.spawn(says("$/result", value=None))
        end = n.end()
        assert end["result"] is None and "error" not in end, end
        n.spawn({"method": "$/result"})
        assert n.end()["result"] is None
        n.spawn()
        end = n.end()
        assert "result" not in end and "error" not in end and end["exit"]["code"] == 0, end
        error = {"code": -32001, "message": "no", "data": {"type": "ValueError", "causes": []}}
        n.spawn(says("$/error", **error), then="exit 1")
        end = n.end()
        assert (end["error"], end["exit"]["code"]) == (error, 1) and "result" not in end, end
        n.spawn(says("$/error", code=1, message="short"))
        assert n.end()["error"] == {"code": 1, "message": "short"}
        n.spawn(says("$/error", message="which?"))
        assert n.end()["error"]["code"] == -32603
        # The first counts, and the cause of the end is another matter.
        n.spawn(says("$/result", value=1), says("$/error", code=1, message="m"), says("$/result", value=2))
        end = n.end()
        assert end["result"] == 1 and "error" not in end, end
        n.spawn(says("$/result", value=1), then="kill -9 $$")
        end = n.end()
        assert (end["result"], end["exit"]["signal"]) == (1, "SIGKILL"), end
        n.close()


def heard_out(backend):
    """What an actor said in its last moment counts, whatever else it said: its end is known before all is read."""
    with tractor(backend) as t:
        n = Nursery(t)
        many = [says("$/status", text=f"{i}") for i in range(2000)]
        pings = [{"id": i, "method": "supervisor.ping"} for i in range(1, 1200, 2)]
        for lines in (many, pings, pings + many):
            n.spawn(*lines, says("$/result", value="last"))
            end = n.end()
            assert (end.get("result"), end["exit"]["code"]) == ("last", 0), end
        # Another process that holds the channel, and writes on, keeps nobody from the end.
        n.spawn(says("$/result", value="mine"), then="(while :; do echo '{}'; done >&3) & exit 0")
        assert n.end()["result"] == "mine"
        n.close()


def of_each_generation(backend):
    with tractor(backend) as t:
        n = Nursery(t)
        flag = os.path.join(t.dir, "flag")
        n.spawn(then=f'if mkdir {flag}; then printf "%s\\n" \'{{"jsonrpc":"2.0","method":"$/result","params":{{"value":1}}}}\' >&3;'
                     " exit 1; fi", restart="transient")
        end = n.end()
        assert end["exit"]["code"] == 0 and "result" not in end, end
        assert os.path.isdir(flag)
        n.close()


def of_an_actor(backend):
    """Its owner hears of it on its channel, also of a nursery within its own."""
    with tractor(backend) as t:
        t.load(children=[echo("a")])
        client = Client(t.path)
        client.call("actor.attach", path="/t/a")
        for params in ({"name": "n"}, {"parent": "/t/a/n", "name": "m"}):
            ask(client, "ask", {"method": "nursery.open", "params": params})
        line = json.dumps({"jsonrpc": "2.0", **says("$/result", value=[1])})
        ask(client, "ask", {"method": "actor.spawn", "params": {"parent": "/t/a/n/m", "name": "c", "channel": "fd",
                            "exec": ["sh", "-c", 'printf "%s\\n" "$1" >&3', "sh", line]}})
        while not (ends := client.call("children")):
            pass
        assert (ends[0]["path"], ends[0]["result"]) == ("/t/a/n/m/c", [1]), ends
        client.close()


def too_long(backend):
    with tractor(backend) as t:
        n = Nursery(t)
        value = "x" * ((128 << 10) - 100)
        n.spawn(says("$/result", value=value))
        assert n.end()["result"] == value
        # Deep: what is told stands as deep as what was said, an error one level deeper.
        deep = json.loads("[" * 62 + "]" * 62)
        n.spawn(says("$/result", value=deep))
        assert n.end()["result"] == deep
        n.spawn(says("$/error", code=1, message="m", data=deep))
        assert n.end()["error"]["code"] == -32011
        n.close()
        # An owner that takes less learns of the end, and why that is all.
        client = Client(t.path)
        client.send({**HELLO, "params": {**HELLO["params"], "max_line": 4096}})
        client.until("$/hello")
        client.call("nursery.open", parent="/", name="small")
        name = os.path.join(t.dir, "lines-1")
        client.call("actor.spawn", parent="/small", name="c", channel="fd", exec=["sh", "-c", SAYS, "sh", name, "exit 7"])
        end = client.until("$/child_exited")
        assert end["exit"]["code"] == 7 and end["error"]["code"] == -32011 and "result" not in end, end
        client.close()


def of_too_many(backend):
    """32 MiB are kept in all; who is told makes room again."""
    size = (128 << 10) - 200
    due, extra = (32 << 20) // (size + 2), 3
    with tractor(backend) as t:
        n = Nursery(t)
        events = t.events(n.path)
        for _ in range(due + extra):
            n.spawn(says("$/result", value="x" * size), says("$/status", text="said"), then="exec sleep 1000")
            events.wait(lambda e: e["event"] == "status", "a status")
        ends = []
        for i in range(1, due + extra + 1):
            n.client.call("actor.kill", path=f"{n.path}/c{i}")
            ends.append(n.client.until("$/child_exited"))
        full = [e for e in ends if "error" in e]
        assert [e["path"] for e in full] == [f"{n.path}/c{i}" for i in range(due + 1, due + extra + 1)], len(full)
        assert all(e["error"]["code"] == -32011 and "32 MiB" in e["error"]["message"] for e in full), full
        assert all(len(e["result"]) == size for e in ends[:due])
        n.spawn(says("$/result", value="x" * size))
        assert len(n.end()["result"]) == size
        n.close()


# --- without waiting ---

def requests(base, first):
    """A nursery below `base`, a child in it, a nursery in it, and a child in that."""
    each = [("nursery.open", {"parent": base, "name": "n", "strategy": "one_for_one"}),
            ("actor.spawn", {"parent": base.rstrip("/") + "/n", **sleeper("a")}),
            ("nursery.open", {"parent": base.rstrip("/") + "/n", "name": "m", "strategy": "one_for_one"}),
            ("actor.spawn", {"parent": base.rstrip("/") + "/n/m", **sleeper("b")})]
    return [{"jsonrpc": "2.0", "id": first + 2 * i, "method": method, "params": params}
            for i, (method, params) in enumerate(each)]


def text_of(messages):
    return "".join(json.dumps(m) + "\n" for m in messages)


def pipelined(backend):
    with tractor(backend) as t:
        t.load(children=[])
        for base in ("/", "/t"):
            client = Client(t.path)
            lines = requests(base, 1)
            client.sock.sendall(text_of(lines).encode())
            answers = [client.receive() for _ in lines]  # of the spawns when they run
            assert sorted(m["id"] for m in answers if m["result"]["path"]) == [1, 3, 5, 7], answers
            pid = t.pid(lines[3]["params"]["parent"] + "/b")
            client.close()
            assert gone(pid)


def pipelined_by_an_actor(backend):
    """The first thing it does, before the supervisor can know that it runs: the keeper's word of that comes later."""
    if os.geteuid() != 0:
        skip("not root: nobody else is told what a process waits for")
    with tractor(backend) as t:
        t.load(children=[])
        events = t.events("/t/a")
        fifo, lines = os.path.join(t.dir, "fifo"), os.path.join(t.dir, "lines")
        out = os.path.join(t.dir, "out")
        os.mkfifo(fifo)
        with open(lines, "w") as f:
            f.write(text_of(requests("/t/a", 1)))
        client = Client(t.path)
        ident = client.request("actor.spawn", {
            "parent": "/t", "name": "a", "channel": "fd", "stderr": f"file:{fifo}",
            "exec": ["sh", "-c", 'cat "$1" >&3; i=0; while [ $i -lt 4 ] && read -r x <&3; do echo "$x" >>"$2"; i=$((i+1)); done;'
                                 'echo >&2; read -r x <&3', "sh", lines, out]})
        # It waits for a reader before it becomes the program. Until then the keeper can still be held.
        children = f"/proc/{t.status['keeper_pid']}/task/{t.status['keeper_pid']}/children"
        events.wait(lambda e: e["event"] == "state" and e["to"] == "starting", "its start")
        waiting = held_at(children)
        os.kill(t.status["keeper_pid"], signal.SIGSTOP)
        try:
            reader = os.open(fifo, os.O_RDONLY)
            # The first answers need no keeper.
            added = events.wait(lambda e: e["event"] == "added" and e["path"] == "/t/a/n/m", "the nursery within")
            assert added and t.get("/t/a")["state"] == "starting"
        finally:
            os.kill(t.status["keeper_pid"], signal.SIGCONT)
        client.answer(ident)
        assert os.read(reader, 10) == b"\n"
        with open(out) as f:
            answers = {m["id"]: m for m in map(json.loads, f)}
        assert [answers[i]["result"]["path"] for i in (1, 3, 5, 7)] == ["/t/a/n", "/t/a/n/a", "/t/a/n/m", "/t/a/n/m/b"], answers
        pid = t.pid("/t/a/n/m/b")
        kill(t.pid("/t/a"))
        assert gone(pid) and waiting
        os.close(reader)
        client.close()


def held_at(children):
    """The keeper's child that is about to become a program and waits for a reader of the fifo."""
    while True:
        with open(children) as f:
            pids = f.read().split()
        for pid in pids:
            try:
                with open(f"/proc/{pid}/wchan") as wchan, open(f"/proc/{pid}/comm") as comm:
                    if comm.read() == "tractor-spawner\n" and wchan.read() == "wait_for_partner":
                        return pid
            except OSError:
                pass


if __name__ == "__main__":
    main([told, heard_out, of_each_generation, of_an_actor, too_long, of_too_many, pipelined, pipelined_by_an_actor])
