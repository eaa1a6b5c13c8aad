#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The supervisor gives up what it does not need, and its actors have all of it nevertheless."""

import os
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import gone, kill, main, sleeper, tractor  # noqa: E402

CHOWN, DAC_OVERRIDE, KILL, SYS_PTRACE, SYS_RESOURCE = (1 << n for n in (0, 1, 5, 19, 24))
KEPT = CHOWN | DAC_OVERRIDE | KILL | SYS_PTRACE | SYS_RESOURCE
SETS = "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"


def rights(pid):
    lines = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status"))
    return {key: int(lines[key], 16) for key in (*SETS, "NoNewPrivs", "Seccomp")}


def check_few(pid):
    got = rights(pid)
    assert got["NoNewPrivs"] == 1 and got["Seccomp"] == 2, got
    ours = rights("self")
    few = {key: ours["CapPrm"] & KEPT if key in ("CapPrm", "CapEff") else got[key] & KEPT for key in SETS}
    if os.geteuid() == 0:
        few["CapBnd"] = ours["CapBnd"] & KEPT
    else:
        few["CapBnd"] = got["CapBnd"]  # nobody's to change, and with no_new_privs nothing comes of it
    assert {key: got[key] for key in SETS} == few, got


def check_all(t, path):
    got = rights(t.pid(path))
    assert got["NoNewPrivs"] == 0 and got["Seccomp"] == 0, got
    assert got == rights(t.status["keeper_pid"]) == rights("self"), got


def few_for_itself_and_all_for_actors(backend):
    """Its successor's, too, and those of actors that it starts."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a", no_new_privs=False)])
        check_few(t.status["pid"])
        check_all(t, "/t/a")
        kill(t.status["pid"])
        t.main = t.connect()
        t.status = t.call("supervisor.status")
        t.load("next", children=[sleeper("a", no_new_privs=False)])
        check_few(t.status["pid"])
        check_all(t, "/next/a")


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
    main([few_for_itself_and_all_for_actors, other_users_are_served])
