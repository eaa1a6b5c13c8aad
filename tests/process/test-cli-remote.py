#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tractorctl bridge and -H: the control socket through a byte bridge, and through a real ssh on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, columns, ctl, running  # noqa: E402
from peers import HELLO, Client, echo  # noqa: E402
from ssh import over_ssh  # noqa: E402
from tractor import LIMIT, await_change, main, read_text, sleeper  # noqa: E402

STREAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "helpers", "stream-actor.py")


def streamer(name):
    return {"name": name, "exec": [sys.executable, STREAM], "channel": "fd", "ready": "channel"}


# --- the bridge alone ----------------------------------------------------------------------------------------------

def bridged(r, **options):
    ours, theirs = socket.socketpair()
    process = subprocess.Popen([CTL, "--socket", r.socket, "bridge"], stdin=theirs, stdout=theirs, **options)
    theirs.close()
    return Client(sock=ours), process


def bridge(backend):
    with running({"children": [echo("a")]}, backend) as r:
        c, process = bridged(r)
        c.send(HELLO)
        assert c.receive()["method"] == "$/hello"
        assert c.call("supervisor.ping") == {}
        assert c.call("actor.attach", path="/t/a") == {}
        big = "x" * 100000
        assert c.call("echo", big=big) == {"big": big}
        c.close()
        assert process.wait(LIMIT) == 0
        # Half a close: what was asked before is still answered.
        c, process = bridged(r)
        ident = c.request("tree.get", {"path": "/t"})
        c.sock.shutdown(socket.SHUT_WR)
        assert c.answer(ident)["state"] == "ready"
        assert process.wait(LIMIT) == 0
        c.close()
        for end in (signal.SIGTERM, signal.SIGKILL):
            c, process = bridged(r)
            assert c.call("supervisor.ping") == {}
            process.send_signal(end)
            assert process.wait(LIMIT) == -end
            c.close()
        ctl("--socket", r.socket + "x", "bridge", code=5)


def bridge_until_eof(backend):
    """It ends with its stdin, and says so to the actor with an end, not a reset."""
    with running({"children": [echo("a")]}, backend) as r:
        reader, writer = os.pipe()
        p = subprocess.Popen([CTL, "--socket", r.socket, "bridge", "--until-eof"], stdin=reader, stdout=subprocess.PIPE)
        os.close(reader)
        os.write(writer, b'{"jsonrpc":"2.0","id":1,"method":"events.subscribe","params":{"path":"/"}}\n')
        assert p.poll() is None and json.loads(p.stdout.readline())["id"] == 1
        os.close(writer)
        assert p.wait(LIMIT) == 0
        p.stdout.close()


def bridge_pipes(backend):
    with running({"children": [sleeper("a")]}, backend) as r:
        done = subprocess.run([CTL, "--socket", r.socket, "bridge"], capture_output=True, timeout=LIMIT,
                              input=b'{"jsonrpc":"2.0","id":1,"method":"supervisor.ping"}\n')
        assert json.loads(done.stdout)["result"] == {} and done.returncode == 0 and done.stderr == b""


# --- ssh -----------------------------------------------------------------------------------------------------------

def remote_verbs(backend):
    with over_ssh({"children": [sleeper("a"), sleeper("keep")]}, backend) as (r, ssh):
        assert ssh.ctl("ping").startswith("ok")
        assert [x[0] for x in columns(ssh.ctl("list"))] == ["/t", "/t/a", "/t/keep"]
        pid = r.node("/t/a")["pid"]
        ssh.ctl("restart", "/t/a*")
        assert r.node("/t/a")["pid"] != pid
        ssh.ctl("wait", "/t/a", "--timeout=5")
        row = columns(ssh.ctl("spawn", "/t", "two words", "--", "true", code=2) and ssh.ctl("cancel", "/t/a"), 1)[0]
        assert row[0] == "/t/a"
        assert "/nobody" in ssh.ctl("status", "/nobody", code=3)
        assert ssh.ctl("--socket", r.socket, "ping").startswith("ok")
        done = subprocess.run([CTL, "-H", "there", "--socket", r.socket + " x'y", "ping"], env=os.environ | ssh.env,
                              capture_output=True, text=True, timeout=LIMIT, stdin=subprocess.DEVNULL)
        assert done.returncode == 5 and f"{r.socket} x'y" in done.stderr and done.stderr.count("\n") == 1, done


def remote_actors(backend):
    with over_ssh({"children": [echo("a"), streamer("s"), sleeper("plain")]}, backend) as (r, ssh):
        assert json.loads(ssh.ctl("call", "/t/a", "echo", '{"x": "it\'s"}')) == {"x": "it's"}
        lines = "".join(f"{i}\n" for i in range(300))
        assert ssh.ctl("-q", "stream", "/t/s", "mirror", text=lines) == lines
        assert ssh.ctl("tell", "/t/s", "hint") == ""
        assert "SIGKILL" in ssh.ctl("call", "/t/a", "die", code=1)
        assert "channel" in ssh.ctl("call", "/t/plain", "echo", code=1)
        r.ctl("wait", "/t/a")
        p = subprocess.Popen([CTL, "-H", "there", "stream", "/t/s", "hold"], env=os.environ | ssh.env, text=True,
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert p.stdout.readline() == '"held"\n'
        p.send_signal(signal.SIGINT)
        assert p.communicate(timeout=LIMIT) == ("", "") and p.returncode == -signal.SIGINT


# Takes connections, keeps them whatever their peers do, and writes down what came over them.
KEEPER = """
import os, socket, sys
sys.path.insert(0, sys.argv[1])
from lines import Line
channel, kept = Line(socket.socket(fileno=int(os.environ["TRACTOR_CHANNEL_FD"]))), []
channel.say(method="$/hello", params={"protocol": "tractor/1"})
channel.say(method="$/ready")
while channel.fill():
    for message in channel.lines():
        if message.get("method") == "$/accept":
            kept.append(Line(socket.socket(fileno=channel.fds.pop(0))))
            while kept[-1].fill():
                pass
            with open(sys.argv[2], "ab") as f:
                f.write(kept[-1].data)
"""


def remote_tell(backend):
    """A tell is over when all of it has been passed on over there, whatever the actor does with its end."""
    with running({"children": [sleeper("keep")]}, backend) as r:
        told, status, ssh = (os.path.join(r.dir, name) for name in ("told", "status", "ssh"))
        with open(ssh, "w") as f:
            f.write(f'#!/bin/sh\nfor command; do :; done\nPATH={os.path.dirname(CTL)}:$PATH\nsh -c "$command"\n'
                    f's=$?\necho "$command: $s" >>{status}\nexit $s\n')
        os.chmod(ssh, 0o755)
        r.ctl("spawn", "/t", "k", "--channel=fd", "--ready=channel", "--grace-ms=1", "--", sys.executable, "-c", KEEPER,
              os.path.dirname(STREAM), told)
        for i in range(3):
            assert ctl("-H", "there", "--socket", r.socket, "tell", "/t/k", "hint", json.dumps({"i": i, "big": "x" * 50000}),
                       env={"TRACTOR_SSH": ssh}) == ""
        with open(status) as f:
            ends = f.read().splitlines()
        assert len(ends) == 3 and all(line.endswith(": 0") for line in ends), f"a bridge was ended: {ends}"
        await_change(r.dir, lambda: os.path.exists(told) and read_text(told).count("\n") == 3)
        with open(told) as f:
            assert [json.loads(line)["params"]["i"] for line in f] == [0, 1, 2]
        said = json.loads(subprocess.run([CTL, "-H", "there", "--socket", r.socket + "x", "--json=short", "tell", "/t/k", "hint"],
                                         env=os.environ | {"TRACTOR_SSH": ssh}, capture_output=True, text=True, timeout=LIMIT,
                                         stdin=subprocess.DEVNULL).stderr)
        assert said["exit"] == 5 and said["verb"] == "bridge", said


def remote_missing(backend):
    with over_ssh({"children": [sleeper("a")]}, backend) as (r, ssh):
        os.unlink(os.path.join(ssh.dir, "bin", "tractorctl"))
        for args, env in ((["-H", "there"], ssh.env), (["-H", "nowhere.invalid"], ssh.env),
                          (["-H", "there"], {"TRACTOR_SSH": "/no/such/ssh"})):
            done = subprocess.run([CTL, *args, "ping"], env=os.environ | env, capture_output=True, text=True, timeout=LIMIT,
                                  stdin=subprocess.DEVNULL)
            assert done.returncode == 5 and f"at {args[1]}: " in done.stderr.splitlines()[-1], done
        ctl("-H", "-oProxyCommand=true", "ping", code=2)
        ctl("-H", "there", "run", r.file, code=2)


if __name__ == "__main__":
    main([bridge, bridge_until_eof, bridge_pipes, remote_verbs, remote_actors, remote_tell, remote_missing])
