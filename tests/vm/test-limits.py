#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What only a machine with all controllers can show: that limits hold, and that what the kernel did is told rightly."""

import contextlib
import errno
import os
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BAD_ACTOR, LIMIT, RpcError, kill, main, sleeper, tractor  # noqa: E402

# The "line" it wants to keep never ends.
HOG = ["tail", "/dev/zero"]
SMALL = {"MemoryMax": "8M", "MemorySwapMax": "0"}
RESTLESS = {"intensity": {"max_restarts": 10000, "within_ms": 1000}}
AT_ONCE = {"initial_ms": 1, "factor": 1, "max_ms": 1, "jitter": 0}
ROUNDS = int(os.environ.get("TRACTOR_TEST_ROUNDS", "100"))
FEW = max(ROUNDS // 5, 2)
# All of a cgroup at once, the main process too.
GROUP = "echo 1 >/sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/memory.oom.group; "


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


@contextlib.contextmanager
def losses(path):
    """Yields a function that waits for the next warning of this actor's, and begins with the first there was."""
    with subprocess.Popen(["journalctl", "--follow", "--lines=all", "--output=cat", "TRACTOR_EVENT=oom-kill",
                           f"TRACTOR_PATH={path}"], stdout=subprocess.PIPE, bufsize=0) as follower:
        def wait():
            ready, _, _ = select.select([follower.stdout], [], [], LIMIT)
            assert ready, f"no warning of {path}"
            return follower.stdout.readline().decode()

        yield wait
        follower.kill()


def another_process_killed_for_memory_is_not_oom(backend):
    """A warning tells of the grandchild; the main process lives on, and is then killed by hand."""
    with tractor(backend) as t, losses("/loss/parent") as loss:
        events = t.events()
        t.load("loss", **RESTLESS, children=[
            {"name": "parent", "exec": ["sh", "-c", "tail /dev/zero; exec sleep 1000"], "limits": SMALL,
             "backoff": AT_ONCE}])
        for _ in range(FEW):
            warning = loss()
            assert "/loss/parent: the kernel killed a process of it for want of memory" in warning, warning
            kill(t.pid("/loss/parent"))
            ended = events.wait(is_exit("/loss/parent"))["exit"]
            assert (ended["cause"], ended["signal"]) == ("signal", "SIGKILL"), ended


def oom_after_another_process_s_is_told(backend):
    """What was survived before takes nothing away from what was not; and a loss before an end of another kind is told."""
    with tractor(backend) as t, losses("/both/worn") as loss:
        events = t.events()
        t.load("both", **RESTLESS, children=[
            {"name": "twice", "exec": ["sh", "-c", "tail /dev/zero; exec tail /dev/zero"], "limits": SMALL,
             "backoff": AT_ONCE},
            {"name": "group", "exec": ["sh", "-c", GROUP + "tail /dev/zero; exec sleep 1000"], "limits": SMALL,
             "backoff": AT_ONCE},
            {"name": "worn", "exec": ["sh", "-c", "tail /dev/zero; exit 3"], "limits": SMALL, "backoff": AT_ONCE}])
        ends = {"twice": [], "group": [], "worn": []}
        while min(map(len, ends.values())) < FEW // 2:
            ended = events.wait(lambda e: e["event"] == "exited")
            ends[ended["path"].split("/")[2]].append(ended["exit"])
        for name in ("twice", "group"):
            assert all(e["cause"] == "oom" for e in ends[name]), (name, ends[name])
        assert all((e["cause"], e["code"]) == ("exit", 3) for e in ends["worn"]), ends["worn"]
        for _ in ends["worn"]:
            loss()


def oom_is_told_of_each_start(backend):
    """Also where the counter begins at 0 again, since someone stopped the slice in between."""
    with tractor(backend) as t:
        events = t.events()
        t.load(children=[{"name": "hog", "exec": HOG, "limits": SMALL, "restart": "temporary"}])
        for _ in range(3):
            assert events.wait(is_exit("/t/hog"))["exit"]["cause"] == "oom"
            events.state("/t/hog", "failed", "dead")
            if backend == "scope":
                subprocess.run(["systemctl", "stop", t.get("/t/hog")["unit"]], check=True)
            t.call("actor.restart", path="/t/hog")


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


def time_to_stop(t, path):
    start = time.monotonic()
    t.call("actor.cancel", path=path)
    return time.monotonic() - start


def fork_bomb_is_contained(backend):
    """Two seconds are enough where one process that has to be killed after the same time takes its 0.3; a slower machine, such
    as an emulated one, or one with other things to do, is given as much more."""
    with tractor(backend) as t:
        t.load(children=[
            sleeper("calm"),
            {"name": "deaf", "exec": [BAD_ACTOR, "ignore-term", "notify-ready", "hang"], "ready": "notify", "grace_ms": 300},
            {"name": "bomb", "exec": ["bash", "-c", "bomb() { bomb & bomb; }; bomb 2>/dev/null"],
             "limits": {"TasksMax": 40}, "restart": "temporary", "grace_ms": 300}])
        calm = t.pid("/t/calm")
        deadline = time.monotonic() + LIMIT
        while (tasks := t.get("/t/bomb")["usage"]["tasks"]) < 40:
            assert time.monotonic() < deadline, f"the bomb did not reach its limit, only {tasks}"
        for _ in range(20):
            assert t.get("/t/bomb")["usage"]["tasks"] <= 40
        deaf, took = time_to_stop(t, "/t/deaf"), time_to_stop(t, "/t/bomb")
        assert took < max(2, 6 * deaf), f"stopping it took {took:.2f} s, {deaf:.2f} s that of a single process"
        assert t.pid("/t/calm") == calm


def limits_of_a_nursery_hold_for_all_below(backend):
    """Below an actor, opened at run time: what is in it dies of it, and neither the actor nor its other nursery."""
    with tractor(backend) as t:
        t.load(children=[sleeper("a")])
        events, owner = t.events(), t.connect()
        owner.call("nursery.open", parent="/t/a", name="small", strategy="one_cancels_one", limits=SMALL)
        owner.call("nursery.open", parent="/t/a", name="few", strategy="one_cancels_one", limits={"TasksMax": 30})
        modest = owner.call("actor.spawn", parent="/t/a/small", **sleeper("modest"))["pid"]
        calm = owner.call("actor.spawn", parent="/t/a/few", **sleeper("calm"))["pid"]
        actor = t.pid("/t/a")
        owner.call("actor.spawn", parent="/t/a/small", name="hog", exec=HOG)
        assert events.wait(is_exit("/t/a/small/hog"))["exit"]["cause"] == "oom"
        gates = []
        for i in range(2):
            gate = os.path.join(t.dir, f"gate{i}")
            os.mkfifo(gate)
            owner.call("actor.spawn", parent="/t/a/few", name=f"bomb{i}", grace_ms=300,
                       exec=["bash", "-c", f"read x <{gate}; bomb() {{ bomb & bomb; }}; bomb 2>/dev/null"])
            gates.append(open(gate, "w"))
        for gate in gates:  # once both run: a full branch would not take the second
            gate.close()
        deadline = time.monotonic() + LIMIT
        while (tasks := t.get("/t/a/few")["usage"]["tasks"]) < 30:
            assert time.monotonic() < deadline, f"the bombs did not reach their limit, only {tasks}"
        for _ in range(20):
            assert t.get("/t/a/few")["usage"]["tasks"] <= 30
        owner.call("actor.set_limits", path="/t/a/small", limits={"MemoryMax": "16M"})
        assert t.get("/t/a/small")["limits"]["MemoryMax"] == "16M"
        assert (t.pid("/t/a"), t.pid("/t/a/small/modest"), t.pid("/t/a/few/calm")) == (actor, modest, calm)
        owner.close()
        events.wait(lambda e: e["event"] == "removed" and e["path"] == "/t/a/few")
        assert t.pid("/t/a") == actor


def await_tasks(t, path, due):
    """The last of an end is that the kernel counts it no longer, of which nobody tells."""
    deadline = time.monotonic() + LIMIT
    while (tasks := t.get(path)["usage"]["tasks"]) != due:
        assert time.monotonic() < deadline, f"{tasks} tasks in {path}, {due} were due"


def full_branch_takes_no_more(backend):
    """Nobody gets in past TasksMax, of the branch or one above it, and who is refused learns of which; one that fits gets in."""
    with tractor(backend) as t:
        t.load(children=[
            {"name": "few", "limits": {"TasksMax": 4}, "children": [
                sleeper("a"), sleeper("b"), {"name": "inner", "limits": {"TasksMax": 100}, "children": [sleeper("c")]}]},
            sleeper("lone", limits={"TasksMax": 1}), sleeper("outside")])
        pids = [t.pid(f"/t/few/{name}") for name in ("a", "b", "inner/c")]
        events, others = t.events(), [t.connect() for _ in range(8)]

        def spawn_at_once(parent, first):
            """How each of eight requests went."""
            asked = [(o, o.request("actor.spawn", {"parent": parent, "restart": "temporary", **sleeper(f"n{first + i}")}))
                     for i, o in enumerate(others)]
            return [done(o, ident) for o, ident in asked]

        def done(connection, ident):
            try:
                return connection.answer(ident)["path"]
            except RpcError as error:
                assert error.code == -32012 and error.data["step"] == "clone" and error.data["errno"] == errno.EAGAIN, error.data
                assert "/t/few is full: its TasksMax is 4" in error.message, error.message
                return None

        for first, parent in (0, "/t/few"), (8, "/t/few/inner"):
            came = [path for path in spawn_at_once(parent, first) if path]
            assert len(came) <= 1, f"{came} got into room for one"
            refused = events.wait(lambda e: e["event"] == "exited")["exit"]
            assert (refused["cause"], refused["step"], refused["errno"]) == ("spawn", "clone", errno.EAGAIN), refused
            await_tasks(t, "/t/few", 3 + len(came))
            if not came:  # one that is being reaped still counts
                came = [t.call("actor.spawn", parent=parent, **sleeper(f"n{first}"))["path"]]
            t.call("tree.unload", path=came[0])
            await_tasks(t, "/t/few", 3)
        assert [t.pid(f"/t/few/{name}") for name in ("a", "b", "inner/c")] == pids
        t.call("actor.set_limits", path="/t/few", limits={"TasksMax": "infinity"})
        assert None not in spawn_at_once("/t/few", 16)
        if backend == "scope":  # who has ended takes no room from its successor
            kill(t.pid("/t/lone"))
            again = events.wait(lambda e: e["event"] in ("spawned", "exited") and e["path"] == "/t/lone" and e["generation"] == 2)
            assert again["event"] == "spawned", again


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
    main([oom_is_told_every_time, sigkill_is_not_oom, another_process_killed_for_memory_is_not_oom,
          oom_after_another_process_s_is_told, oom_is_told_of_each_start, limit_of_a_branch_holds_for_all_below,
          fork_bomb_is_contained, limits_of_a_nursery_hold_for_all_below, full_branch_takes_no_more,
          cpu_quota_holds_and_can_be_changed, supervisors_are_spared])
