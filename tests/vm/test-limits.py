#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What only a machine with all controllers can show: that limits hold, and that what the kernel did is told rightly."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import LIMIT, kill, main, sleeper, tractor  # noqa: E402

# The "line" it wants to keep never ends.
HOG = ["tail", "/dev/zero"]
SMALL = {"MemoryMax": "8M", "MemorySwapMax": "0"}
RESTLESS = {"intensity": {"max_restarts": 10000, "within_ms": 1000}}
AT_ONCE = {"initial_ms": 1, "factor": 1, "max_ms": 1, "jitter": 0}
ROUNDS = int(os.environ.get("TRACTOR_TEST_ROUNDS", "100"))


def is_exit(path):
    return lambda e: e["event"] == "exited" and e["path"] == path


def oom_is_told_every_time(backend):
    """However fast its cgroup vanishes, an end by the OOM killer is called one; the sibling never notices."""
    with tractor(backend) as t:
        events = t.events()
        t.load(**RESTLESS, children=[
            sleeper("calm"),
            {"name": "hog", "exec": HOG, "limits": SMALL, "backoff": AT_ONCE}])
        calm = t.pid("/t/calm")
        causes = [events.wait(is_exit("/t/hog"))["exit"]["cause"] for _ in range(ROUNDS)]
        assert causes == ["oom"] * ROUNDS, f"{causes.count('oom')} of {ROUNDS}: {set(causes)}"
        assert t.pid("/t/calm") == calm


def supervisors_are_spared(backend):
    """The last to be killed for memory are those who supervise; an actor is as likely a victim as any program."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        status = t.call("supervisor.status")
        scores = [int(open(f"/proc/{pid}/oom_score_adj").read())
                  for pid in (status["keeper_pid"], status["pid"], t.pid("/t/a"))]
        assert scores == [-900, -900, 0], scores


def sigkill_is_not_oom(backend):
    """Under the same limit, between two real ones."""
    with tractor(backend) as t:
        events = t.events()
        t.load(**RESTLESS, children=[
            {"name": "victim", "limits": {"MemoryMax": "64M"}, "backoff": AT_ONCE, **sleeper("victim")},
            {"name": "hog", "exec": HOG, "limits": SMALL, "backoff": AT_ONCE}])
        for _ in range(10):
            assert events.wait(is_exit("/t/hog"))["exit"]["cause"] == "oom"
            kill(t.pid("/t/victim"))
            ended = events.wait(is_exit("/t/victim"))["exit"]
            assert (ended["cause"], ended["signal"]) == ("signal", "SIGKILL"), ended
            events.state("/t/victim", "ready")


def limit_of_a_branch_holds_for_all_below(backend):
    """The limit is the supervisor's; what dies of it is the hungry child."""
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[
            sleeper("outside"),
            {"name": "branch", "limits": SMALL, "on_give_up": "isolate", "children": [
                sleeper("modest"), {"name": "hog", "exec": HOG, "restart": "temporary"}]}])
        modest, outside = t.pid("/t/branch/modest"), t.pid("/t/outside")
        assert events.wait(is_exit("/t/branch/hog"))["exit"]["cause"] == "oom"
        assert (t.pid("/t/branch/modest"), t.pid("/t/outside")) == (modest, outside)


def fork_bomb_is_contained(backend):
    with tractor(backend) as t:
        t.load(children=[
            sleeper("calm"),
            {"name": "bomb", "exec": ["bash", "-c", "bomb() { bomb & bomb; }; bomb 2>/dev/null"],
             "limits": {"TasksMax": 40}, "restart": "temporary", "grace_ms": 300}])
        calm = t.pid("/t/calm")
        deadline = time.monotonic() + LIMIT
        while (tasks := t.get("/t/bomb")["usage"]["tasks"]) < 40:
            assert time.monotonic() < deadline, f"the bomb did not reach its limit, only {tasks}"
        for _ in range(20):
            assert t.get("/t/bomb")["usage"]["tasks"] <= 40
        start = time.monotonic()
        t.call("actor.cancel", path="/t/bomb")
        took = time.monotonic() - start
        assert took < 2, f"stopping it took {took:.2f} s"
        assert t.pid("/t/calm") == calm


def cpu_used(t, path, seconds):
    """CPU per wall-clock time over a while: the one thing here that is a matter of time."""
    cpu, start = t.get(path)["usage"]["cpu_us"], time.monotonic()
    time.sleep(seconds)
    return (t.get(path)["usage"]["cpu_us"] - cpu) / 1e6 / (time.monotonic() - start)


def cpu_quota_holds_and_can_be_changed(backend):
    with tractor(backend) as t:
        t.load(children=[{"name": "spin", "exec": ["sh", "-c", "while :; do :; done"],
                          "limits": {"CPUQuota": "20%"}}])
        used = cpu_used(t, "/t/spin", 4)
        assert 0.05 < used < 0.3, f"{used:.2f} of a processor at 20%"
        t.call("actor.set_limits", path="/t/spin", limits={"CPUQuota": "60%"})
        used = cpu_used(t, "/t/spin", 4)
        assert 0.35 < used < 0.75, f"{used:.2f} of a processor at 60%"


if __name__ == "__main__":
    main([oom_is_told_every_time, sigkill_is_not_oom, limit_of_a_branch_holds_for_all_below, fork_bomb_is_contained,
          cpu_quota_holds_and_can_be_changed, supervisors_are_spared])
