#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The supervisor gives up what it does not need, and its actors have all of it nevertheless."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import gone, kill, main, sleeper, tractor  # noqa: E402

CHOWN, DAC_OVERRIDE, KILL, SYS_PTRACE, SYS_NICE, SYS_RESOURCE = (1 << n for n in (0, 1, 5, 19, 23, 24))
KEPT = CHOWN | DAC_OVERRIDE | KILL | SYS_PTRACE | SYS_NICE | SYS_RESOURCE
SETS = "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"


def rights(pid):
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return {key: int(lines[key], 16) for key in (*SETS, "NoNewPrivs", "Seccomp")}


def check_few(t):
    """Of what its keeper has. An ordinary user's bounding set is not theirs to change; with no_new_privs nothing comes of it."""
    got, had = rights(t.status["pid"]), rights(t.status["keeper_pid"])
    assert got["NoNewPrivs"] == 1 and got["Seccomp"] == 2, got
    for key in SETS:
        assert got[key] == (had[key] if key == "CapBnd" and not had["CapEff"] else had[key] & KEPT), (key, got, had)


def check_all(t, path):
    got = rights(t.pid(path))
    assert got["NoNewPrivs"] == 0 and got["Seccomp"] == 0, got
    assert got == rights(t.status["keeper_pid"]) == rights("self"), got


def few_for_itself_and_all_for_actors(backend):
    """Its successor's, too, and those of actors that it starts."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a", no_new_privs=False)])
        check_few(t)
        check_all(t, "/t/a")
        kill(t.status["pid"])
        t.main = t.connect()
        t.status = t.call("supervisor.status")
        t.load("next", children=[sleeper("a", no_new_privs=False)])
        check_few(t)
        check_all(t, "/next/a")
        assert backend == "scope" or "forgo" not in open(t.log_path).read()


def an_ordinary_user_has_none(backend):
    if os.geteuid() == 0 and backend == "process":
        with tractor(backend, user=65534) as t:
            assert rights(t.status["keeper_pid"])["CapEff"] == 0
            check_few(t)
            assert "forgo" not in open(t.log_path).read()


def other_users_are_served(backend):
    """Files where only they may look, and what is left of them: all of it is another user's."""
    if os.geteuid() != 0:
        return
    with tempfile.TemporaryDirectory() as d, tractor(backend) as t:
        os.chmod(d, 0o700)
        os.chown(d, 65534, 65534)
        t.load(children=[{"name": "a", "exec": ["sh", "-c", f"echo up; setsid sleep 1000 & >{d}/ready; exec sleep 1000"],
                          "user": "nobody", "ready": {"file": f"{d}/ready"}, "stdout": f"file:{d}/out"}])
        pid = t.pid("/t/a")
        assert open(f"{d}/out").read() == "up\n"
        straggler = int(open(f"/proc/{pid}/task/{pid}/children").read())
        assert os.stat(f"/proc/{straggler}").st_uid == 65534
        t.call("actor.cancel", path="/t/a")
        assert gone(pid) and gone(straggler)


if __name__ == "__main__":
    main([few_for_itself_and_all_for_actors, an_ordinary_user_has_none, other_users_are_served])
