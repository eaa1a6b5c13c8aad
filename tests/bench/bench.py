#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench.py [--build DIR] [--backend NAME,…] [--only abcdefghij] [--quick] [--cpu N] [--json FILE]

What tractor costs beside the bare floor and beside other supervisors that do the same work in the same run. Only the
ratios mean anything: samples alternate, so that what else the machine does hits all of them alike. Medians, with minimum
and maximum.

  a  spawn → main() and → reply, one at a time and 200 at once; beside fork + exec, clone3 into a cgroup + exec, or a
     bare loop of StartTransientUnit
  b  SIGKILL → the successor's main(), 50 services up, teardown of 50 and of 200; beside s6, runit and a bare cgroup.kill
  c  memory of keeper and supervisor with 50 actors, and an actor's share up to 1000
  d  spawning (and cancelling) with 2000 actors there, beside the same with 100
  e  tree.apply of 500 children with one changed, and with none; beside one spawn and one restart among those 500
  f  supervisor.ping, beside an echo over a bare socketpair with one json-c parse and print a side
  g  memory of 500 connections (250, unless root) that were served once and are idle
  h  supervisor.ping alone, and beside 50 connections: 37 of another user flood it with pings, big lines and tiny ones, 12 subscribers
     never read, one makes events for them; and while these do the same to another supervisor, which takes as much of the
     processors but none of this one's turns
  i  tasks of one process: a switch, a start with its end, a deadline set and dropped, what an idle one occupies; beside Python's trio
  j  libtractor, between a root and its actor on one CPU: a call, an item there and back, items one way; beside the same lines over a bare
     socketpair, printed and parsed by json-c; tractor_start_actor() → first reply; a root's start → first reply; memory of an idle actor

The backend `scope` needs a systemd: unless one is PID 1, a private one is booted for it (root only)."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", help="the build to measure (default: $TRACTOR_TEST_BUILD, build-bench, build)")
    parser.add_argument("--backend", default="process,cgroup,scope")
    parser.add_argument("--only", default="abcdefghij", help="which groups, such as ab")
    parser.add_argument("--quick", action="store_true", help="a few samples, to try the driver")
    parser.add_argument("--cpu", type=int, help="everything on this CPU: work alone counts, not placement")
    parser.add_argument("--json", metavar="FILE", help="all samples and ratios")
    options = parser.parse_args()
    build = options.build or os.environ.get("TRACTOR_TEST_BUILD")
    build = build or next((d for d in ("build-bench", "build") if os.path.isdir(d)), None)
    if not build:
        parser.error("no build: contrib/bootstrap bench makes one")
    os.environ["TRACTOR_TEST_BUILD"] = os.path.abspath(build)
    return options


OPTIONS = parse()
if OPTIONS.cpu is not None:
    os.sched_setaffinity(0, {OPTIONS.cpu})

import subjects  # noqa: E402  (reads the build's place when imported)
from subjects import ACTOR, PEERS, Inbox, TractorRun, child, embedded, floor, tree  # noqa: E402


class Table:
    """Samples by (group, what, subject), and the ratios made of them."""

    def __init__(self):
        self.samples, self.ratios, self.notes = {}, [], []

    def add(self, group, what, subject, values, unit="ms"):
        row = self.samples.setdefault((group, what, subject), {"unit": unit, "values": []})
        row["values"] += values

    def median(self, group, what, subject):
        row = self.samples.get((group, what, subject))
        return statistics.median(row["values"]) if row and row["values"] else None

    def ratio(self, group, what, subject, base, aim, base_what=None):
        """aim: at most this; a strict one is missed when reached."""
        above, below = self.median(group, what, subject), self.median(group, base_what or what, base)
        if above is None or below is None:
            return
        self.judge(group, what, f"{subject} ÷ {base}", above / below, aim)

    def judge(self, group, what, name, value, aim, unit=""):
        self.ratios.append({"group": group, "what": what, "name": name, "value": value, "unit": unit, "aim": aim,
                            "met": None if aim is None else value <= aim})

    def rows(self):
        for (group, what, subject), row in sorted(self.samples.items()):
            values = row["values"]
            yield {"group": group, "what": what, "subject": subject, "unit": row["unit"], "n": len(values),
                   "median": statistics.median(values), "min": min(values), "max": max(values), "values": values}

    def take(self, data):
        for row in data["samples"]:
            self.add(row["group"], row["what"], row["subject"], row["values"], row["unit"])
        self.ratios += data["ratios"]
        self.notes += data["notes"]

    def data(self):
        return {"samples": list(self.rows()), "ratios": self.ratios, "notes": self.notes}

    def print(self):
        print(f"\n{'':2}{'what':34} {'subject':16} {'median':>9} {'min':>9} {'max':>9}     n")
        for r in self.rows():
            print(f"{r['group']:2}{r['what']:34} {r['subject']:16} {r['median']:9.3f} {r['min']:9.3f} "
                  f"{r['max']:9.3f} {r['unit']:4}{r['n']}")
        print(f"\n{'':2}{'what':34} {'ratio':28} {'value':>9}  {'aim':>9}")
        for r in self.ratios:
            aim = "" if r["aim"] is None else f"≤ {r['aim']:g} {r['unit']}"
            verdict = "" if r["met"] is None else "met" if r["met"] else "MISSED"
            print(f"{r['group']:2}{r['what']:34} {r['name']:28} {r['value']:9.2f}  {aim:>9}  {verdict}")
        for note in self.notes:
            print(f"  {note}")


def say(text):
    print(f"-- {text} (load {os.getloadavg()[0]:.1f})", file=sys.stderr, flush=True)


def few(n, quick):
    return quick if OPTIONS.quick else n


def ms(ns):
    return ns / 1e6


# --- a: spawn ----------------------------------------------------------------------------------------------------


class Floor:
    """What a backend's spawn is measured against."""

    def __init__(self, backend):
        self.backend, self.cgroup = backend, None
        if backend == "cgroup":
            self.cgroup = subjects.own_cgroup()
        self.name = {"process": "fork", "cgroup": "clone3", "scope": "StartTransientUnit"}[backend]

    def run(self, n, many=False):
        if self.backend == "scope":
            return floor("bench-floor-scope", "many" if many else "one", n, ACTOR)
        args = [self.cgroup] if self.cgroup else []
        return floor("bench-floor", self.name + ("-many" if many else ""), n, ACTOR, *args)

    def close(self):
        if self.cgroup:
            os.rmdir(self.cgroup)


def timed(t, method, **params):
    """The times of a request, ready to be sent, and of its reply: what Python takes to make it is none of ours."""
    ident = next(t.main.ids)
    line = json.dumps({"jsonrpc": "2.0", "id": ident, "method": method, "params": params}).encode() + b"\n"
    begin = time.monotonic_ns()
    t.main.sock.sendall(line)
    t.main.answer(ident)
    return begin, time.monotonic_ns()


def timed_call(t, method, **params):
    begin, end = timed(t, method, **params)
    return ms(end - begin)


def spawn_one(t, inbox, name, parent="/t", **keys):
    """(→ main(), → reply, → gone after cancel) in ms."""
    begin, replied = timed(t, "actor.spawn", parent=parent, **child(name, restart="temporary", **keys))
    reported = inbox.receive()
    assert list(reported) == [name], reported
    return ms(reported[name][1] - begin), ms(replied - begin), timed_call(t, "actor.cancel", path=f"{parent}/{name}")


def measure_spawn_one(table, backend, bare, inbox):
    with embedded(backend, inbox) as t:
        t.load("t", children=[])
        for i in range(few(6, 1)):
            # The first of each block finds caches that the other side has filled.
            table.add("a", "spawn one", bare.name, bare.run(6)[1:])
            told = [spawn_one(t, inbox, f"b{i}-{j}") for j in range(6)][1:]
            table.add("a", "spawn one", backend, [x[0] for x in told])
            table.add("a", "spawn one → reply", backend, [x[1] for x in told])


def load_many(t, inbox, n, name):
    """(→ last main(), → reply) in ms; the reports are read meanwhile."""
    begin = time.monotonic_ns()
    ident = t.main.request("tree.load", {"tree": tree(n, name)})
    last = max(ns for _, ns in inbox.receive(n).values())
    t.main.answer(ident)
    return ms(last - begin), ms(time.monotonic_ns() - begin)


def measure_spawn_many(table, backend, bare, inbox):
    with embedded(backend, inbox) as t:
        for i in range(few(6, 1)):
            table.add("a", "spawn 200 at once", bare.name, bare.run(200, many=True))
            main, reply = load_many(t, inbox, 200, "t")
            table.add("a", "spawn 200 at once", backend, [main])
            table.add("a", "spawn 200 at once → reply", backend, [reply])
            t.call("tree.unload", path="/t")


def group_a(table, backends):
    for backend in backends:
        say(f"a: spawn, {backend}")
        with contextlib.closing(Floor(backend)) as bare, scratch() as inbox:
            measure_spawn_one(table, backend, bare, inbox)
            measure_spawn_many(table, backend, bare, inbox)
            for what in ("spawn one", "spawn 200 at once"):
                table.ratio("a", what, backend, bare.name, 1.3)
                table.ratio("a", what + " → reply", backend, bare.name, 1.3, base_what=what)


# --- b: restart, start, teardown ---------------------------------------------------------------------------------


@contextlib.contextmanager
def scratch():
    folder = tempfile.mkdtemp(prefix="tractor-bench-")
    inbox = Inbox(folder)
    try:
        yield inbox
    finally:
        inbox.close()
        shutil.rmtree(folder)


def makers(backends):
    """{name: function(n, inbox) → something with start, teardown and close}"""
    made = {b: lambda n, inbox, b=b: TractorRun(b, n, inbox) for b in backends}
    made.update({peer.name: peer for peer in PEERS})
    return made


def kill_and_wait(inbox, name, pid):
    begin = time.monotonic_ns()
    os.kill(pid, 9)
    reported = inbox.receive()
    assert list(reported) == [name] and reported[name][0] != pid, (reported, name, pid)
    return ms(reported[name][1] - begin)


def measure_restart(table, backends, what, pause):
    """Each service is killed once, at more than 1 s of age, below which s6 and runit hold a restart back. For the first process in
    some 12 ms that changes its cgroup, as on `scope`, the kernel waits: without a pause all samples but one are spared that."""
    n = few(20, 3)
    with contextlib.ExitStack() as stack:
        running = {}
        for name, make in makers(backends).items():
            inbox = stack.enter_context(scratch())
            subject = make(n, inbox)
            stack.callback(subject.close)
            subject.start()
            running[name] = inbox, inbox.receive(n)
        time.sleep(1.5)
        for i in range(n):
            for name, (inbox, pids) in running.items():
                time.sleep(pause)
                table.add("b", what, name, [kill_and_wait(inbox, f"a{i}", pids[f"a{i}"][0])])


def measure_up_and_down(table, backends, n, rounds):
    cgroup = subjects.own_cgroup()
    for _ in range(rounds):
        if cgroup:
            table.add("b", f"teardown {n}", "cgroup.kill", floor("bench-floor", "kill", n, ACTOR, cgroup))
        for name, make in makers(backends).items():
            with scratch() as inbox, contextlib.closing(make(n, inbox)) as subject:
                begin = subject.start()
                told = inbox.receive(n)
                if n == 50:
                    table.add("b", "50 services up", name, [ms(max(ns for _, ns in told.values()) - begin)])
                # Readiness and bookkeeping of the start end before the teardown begins.
                time.sleep(0.3)
                table.add("b", f"teardown {n}", name, [ms(subject.teardown([pid for pid, _ in told.values()]))])
    if cgroup:
        os.rmdir(cgroup)


def group_b(table, backends):
    say("b: restart")
    measure_restart(table, backends, "restart", 0)
    measure_restart(table, backends, "restart, alone", 0.05)
    for n, rounds in ((50, few(7, 1)), (200, few(5, 1))):
        say(f"b: start and teardown of {n}")
        measure_up_and_down(table, backends, n, rounds)
    for backend in backends:
        strict = None if backend == "scope" else 1
        for peer in PEERS:
            for what in ("restart", "50 services up", "teardown 50", "teardown 200"):
                table.ratio("b", what, backend, peer.name, strict)
        if backend == "scope":
            table.judge("b", "restart", backend, table.median("b", "restart", backend), 4, "ms")
        for n in (50, 200):
            table.ratio("b", f"teardown {n}", backend, "cgroup.kill", 1.5)


# --- c: memory ---------------------------------------------------------------------------------------------------


def tractor_memory(t):
    status = t.call("supervisor.status")
    return subjects.memory_kib([status["keeper_pid"], status["pid"],
                                *subjects.children_called(status["keeper_pid"], "tractor-spawner"),
                                *subjects.children_called(status["pid"], "tractor-logger")])


def group_c(table, backends):
    for backend in backends:
        say(f"c: memory, {backend}")
        with scratch() as inbox, embedded(backend, inbox) as t:
            load_many(t, inbox, 50, "few")
            pss, private = tractor_memory(t)
            load_many(t, inbox, 950, "many")
            share = (tractor_memory(t)[0] - pss) / 950
        table.add("c", "PSS with 50", backend, [pss], "KiB")
        table.add("c", "private with 50", backend, [private], "KiB")
        table.add("c", "PSS an actor, 50 to 1000", backend, [share], "KiB")
        table.judge("c", "PSS with 50", backend, pss / 1024, 3, "MiB")
        table.judge("c", "PSS an actor, 50 to 1000", backend, share, 8, "KiB")
    for peer in PEERS:
        with scratch() as inbox, contextlib.closing(peer(50, inbox)) as subject:
            subject.start()
            inbox.receive(50)
            pss, private = subjects.memory_kib(subject.supervisors())
        table.add("c", "PSS with 50", peer.name, [pss], "KiB")
        table.add("c", "private with 50", peer.name, [private], "KiB")


# --- d: how cost grows -------------------------------------------------------------------------------------------


def group_d(table, backends):
    for backend in backends:
        say(f"d: growth, {backend}")
        with contextlib.ExitStack() as stack:
            sized = {}
            for n in (100, few(2000, 200)):
                inbox = stack.enter_context(scratch())
                t = stack.enter_context(embedded(backend, inbox))
                load_many(t, inbox, n, "t")
                t.load("u", children=[])
                sized[n] = t, inbox
            for i in range(few(50, 5)):
                for n, (t, inbox) in sized.items():
                    main, reply, cancel = spawn_one(t, inbox, f"b{i}", parent="/u")
                    table.add("d", "spawn → reply", f"{backend} {n}", [reply])
                    table.add("d", "spawn → main", f"{backend} {n}", [main])
                    table.add("d", "cancel → reply", f"{backend} {n}", [cancel])
            small, large = sized
            for what, aim in (("spawn → reply", 1.2), ("spawn → main", 1.2), ("cancel → reply", None)):
                table.ratio("d", what, f"{backend} {large}", f"{backend} {small}", aim)
            # An owner's end gives them three seconds, which two thousand units may exceed.
            for t, _ in sized.values():
                t.call("tree.unload", path="/t")


# --- e: a change among many -------------------------------------------------------------------------------------


def group_e(table, backends):
    """The changed child is gone and its successor runs at the reply. The request alone is 60 KiB of JSON."""
    n = few(500, 50)
    for backend in backends:
        say(f"e: a change among {n}, {backend}")
        with scratch() as inbox, embedded(backend, inbox) as t:
            file = tree(n)
            t.call("tree.load", tree=file)
            inbox.receive(n)
            t.load("u", children=[])
            for i in range(few(30, 3)):
                _, reply, _ = spawn_one(t, inbox, f"b{i}", parent="/u")
                table.add("e", "spawn → reply", backend, [reply])
                table.add("e", "restart → reply", backend, [timed_call(t, "actor.restart", path=f"/t/a{i}")])
                table.add("e", "apply, none changed", backend, [timed_call(t, "tree.apply", tree=file)])
                file["children"][n // 2]["env"] = {"N": str(i)}
                table.add("e", "apply, one changed", backend, [timed_call(t, "tree.apply", tree=file)])
                inbox.receive(2)
            spawn = table.median("e", "spawn → reply", backend)
            table.judge("e", "apply, one changed", f"{backend} ÷ one spawn",
                        table.median("e", "apply, one changed", backend) / spawn, 2)
            table.judge("e", "apply, none changed", f"{backend} ÷ one spawn",
                        table.median("e", "apply, none changed", backend) / spawn, None)
            table.judge("e", "apply, one changed", f"{backend} ÷ one restart",
                        table.median("e", "apply, one changed", backend) / table.median("e", "restart → reply", backend), None)


# --- f, g, h: the control socket: it is the same on every backend ------------------------------------------------


def microseconds(*args):
    return [1000 * ms for ms in floor("bench-client", *args)]


@contextlib.contextmanager
def crowd(t, n, *what, user=None):
    """bench-client with n connections, from when it is at it."""
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    process = subprocess.Popen([subjects.bench_program("bench-client"), what[0], t.path, str(n), *what[1:]],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **identity)
    try:
        assert process.stdout.readline() == "at it\n"
        yield
        assert process.poll() is None, "the crowd was cut off"
    finally:
        process.communicate("")


def group_f(table, backends):
    say("f: ping")
    with scratch() as inbox, embedded(backends[0], inbox) as t:
        for _ in range(few(15, 3)):
            for subject, args in (("socketpair", ("raw", "3000")), ("supervisor", ("ping", t.path, "3000", "0"))):
                table.add("f", "ping", subject, [statistics.median(microseconds(*args)[500:])], "µs")
        t.call("tree.load", tree={"tractor": 1, "name": "f", "children": [
            {"name": "echo", "exec": [subjects.bench_program("bench-echo")], "channel": "fd", "ready": "channel"}]})
        for _ in range(few(15, 3)):
            for subject, args in (("socketpair", ("raw", "3000")), ("attached", ("echo", t.path, "3000", "/f/echo"))):
                table.add("f", "echo", subject, [statistics.median(microseconds(*args)[500:])], "µs")
    table.ratio("f", "ping", "supervisor", "socketpair", 1.5)
    table.ratio("f", "echo", "attached", "socketpair", 1.5)


def group_g(table, backends):
    say("g: idle connections")
    users = [None, 61234] if os.geteuid() == 0 else [None]  # one may have 256
    for _ in range(few(5, 1)):
        with scratch() as inbox, embedded(backends[0], inbox) as t, contextlib.ExitStack() as stack:
            os.chmod(t.dir, 0o711)
            os.chmod(t.path, 0o666)
            t.call("supervisor.ping")
            before = subjects.memory_kib([t.status["pid"]])
            for user in users:
                stack.enter_context(crowd(t, 250, "idle", user=user))
            after = subjects.memory_kib([t.status["pid"]])
        for what, a, b in zip(("PSS a connection", "private a connection"), before, after):
            table.add("g", what, "supervisor", [(b - a) / (250 * len(users))], "KiB")


def p99(times):
    return sorted(times)[len(times) * 99 // 100]


def group_h(table, backends):
    say("h: ping beside 50 hostile connections")
    with scratch() as inbox, embedded(backends[0], inbox) as t, embedded(backends[0], inbox) as other:
        for i in (t, other):
            os.chmod(i.dir, 0o711)
            os.chmod(i.path, 0o666)
        for _ in range(few(7, 1)):
            for subject, victim in (("alone", None), ("50 elsewhere", other), ("beside 50", t)):
                with contextlib.ExitStack() as stack:
                    if victim:
                        stack.enter_context(crowd(victim, 37, "hostile", "012", user=61234 if os.geteuid() == 0 else None))
                        stack.enter_context(crowd(victim, 12, "hostile", "3"))
                        stack.enter_context(crowd(victim, 1, "hostile", "4"))
                    times = microseconds("ping", t.path, str(few(1000, 200)), "300")
                table.add("h", "ping, median", subject, [statistics.median(times)], "µs")
                table.add("h", "ping, p99", subject, [p99(times)], "µs")
    table.ratio("h", "ping, median", "beside 50", "alone", None)
    table.ratio("h", "ping, p99", "beside 50", "alone", None)
    table.ratio("h", "ping, p99", "beside 50", "50 elsewhere", 3)


# --- i: tasks, in one process: no supervisor takes part ------------------------------------------------------------


def one_number(*command):
    return float(subprocess.run(command, check=True, timeout=subjects.LIMIT, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE).stdout)


def tasks_peer():
    """Debian's trio is there for Debian's Python alone."""
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer-trio.py")
    python = "/usr/bin/python3"
    try:
        there = subprocess.run([python, "-c", "import trio"], stderr=subprocess.DEVNULL).returncode == 0
    except FileNotFoundError:
        there = False
    return [python, peer] if there else None


def group_i(table, backends):
    say("i: tasks")
    tasks, trio = subjects.bench_program("bench-tasks"), tasks_peer()
    for _ in range(few(9, 2)):
        for what, how, n in (("switch of a task", "switch", 1000000), ("the same, one waits for input", "turns", 1000000),
                             ("start and end of a task", "spawn", 300000), ("deadline set and dropped", "timers", 1000000)):
            table.add("i", what, "tractor", [one_number(tasks, how, str(n))], "ns")
        table.add("i", "an idle task, of 10000", "tractor", [one_number(tasks, "idle", "10000")], "B")
        if trio:
            table.add("i", "switch of a task", "trio", [one_number(*trio, "switch", "30000")], "ns")
            table.add("i", "start and end of a task", "trio", [one_number(*trio, "spawn", "3000")], "ns")
    for what in ("switch of a task", "start and end of a task"):
        table.ratio("i", what, "tractor", "trio", 0.1)
    table.judge("i", "an idle task, of 10000", "tractor", table.median("i", "an idle task, of 10000", "tractor") / 1024, 8, "KiB")
    if not trio:
        table.notes.append("python3-trio is not installed")


# --- j: libtractor, between two processes --------------------------------------------------------------------------


def one_cpu():
    return ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


def measure_talks(table):
    """Both ends on one CPU: work alone counts, not whether a wake-up finds an idle one."""
    lines, calls = [*one_cpu(), subjects.bench_program("bench-lines")], [*one_cpu(), subjects.bench_program("bench-calls")]
    each = (("call", (("socketpair", lines, "call"), ("libtractor", calls, "call")), 5000),
            ("item there and back", (("socketpair", lines, "echo"), ("libtractor", calls, "echo")), 5000),
            ("64 B one way", (("print and parse", lines, "limit"), ("socketpair", lines, "up"), ("libtractor", calls, "up"),
                              ("libtractor down", calls, "down")), 20000),
            ("64 KiB one way", (("bare bytes", lines, "big-bytes"), ("socketpair", lines, "big"), ("libtractor", calls, "big")), 500))
    for _ in range(few(15, 3)):
        for what, sides, n in each:
            for subject, command, how in sides:
                backend = ["process"] if command is calls else []
                table.add("j", what, subject, [one_number(*command, how, str(n), *backend) / 1000], "µs")
    for what in ("call", "item there and back"):
        table.ratio("j", what, "libtractor", "socketpair", 1.5)
    for subject in ("libtractor", "libtractor down"):
        # At least 70 % of its rate.
        table.ratio("j", "64 B one way", subject, "print and parse", 1 / 0.7)
    table.ratio("j", "64 KiB one way", "libtractor", "socketpair", None)
    table.ratio("j", "64 KiB one way", "libtractor", "bare bytes", None)


def first_reply(backend):
    """(start of the program → its first actor's reply in ms, PSS and private KiB of that actor, idle)"""
    begin = time.monotonic_ns()
    root = subprocess.Popen([subjects.bench_program("bench-calls"), "idle", "1", backend], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, text=True)
    try:
        at, pid = int(root.stdout.readline()), int(root.stdout.readline())
        return ms(at - begin), *subjects.memory_kib([pid])
    finally:
        root.communicate(timeout=subjects.LIMIT)


def measure_starts(table, backend):
    with contextlib.closing(Floor(backend)) as bare:
        for _ in range(few(8, 1)):
            table.add("j", "start_actor → reply", bare.name, bare.run(6)[1:])
            table.add("j", "start_actor → reply", backend, floor("bench-calls", "spawn", 6, backend)[1:])
            took, pss, private = first_reply(backend)
            table.add("j", "start → first actor's reply", backend, [took])
            table.add("j", "PSS of an idle actor", backend, [pss], "KiB")
            table.add("j", "private of an idle actor", backend, [private], "KiB")
    table.ratio("j", "start_actor → reply", backend, bare.name, None)


def group_j(table, backends):
    if "process" in backends:
        say("j: calls and items")
        measure_talks(table)
    for backend in backends:
        say(f"j: actors, {backend}")
        measure_starts(table, backend)


GROUPS = {"a": group_a, "b": group_b, "c": group_c, "d": group_d, "e": group_e, "f": group_f, "g": group_g,
          "h": group_h, "i": group_i, "j": group_j}


def measure_in_systemd(table):
    """The same driver inside a systemd booted for it; its samples are added to ours."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory(prefix="tractor-bench-") as shared:
        result = os.path.join(shared, "result")
        command = [os.path.join(here, "..", "systemd", "run-in-systemd"), "--share", shared, sys.executable,
                   os.path.abspath(__file__), "--backend", "scope", "--only", OPTIONS.only, "--json", result]
        command += ["--quick"] if OPTIONS.quick else []
        command += ["--cpu", str(OPTIONS.cpu)] if OPTIONS.cpu is not None else []
        code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=1800).returncode
        if not os.path.exists(result):
            table.notes.append(f"scope: not measured, the private systemd ended with {code}")
            return False
        inner = json.load(open(result))
        # The peers' own rows inside are beside the scope backend only.
        for row in inner["samples"]:
            if row["subject"] in ("s6", "runit", "cgroup.kill"):
                row["subject"] += " (systemd)"
        table.take(inner)
    return code == 0


def measure(table, backends):
    """A group that fails costs its own samples, not those of the others."""
    good = True
    for group in OPTIONS.only:
        try:
            GROUPS[group](table, backends)
        except (AssertionError, OSError, EOFError, subprocess.SubprocessError, subjects.harness.RpcError) as error:
            table.notes.append(f"{group} of {', '.join(backends)} failed: {error!r}")
            good = False
    return good


def main():
    backends = OPTIONS.backend.split(",")
    table = Table()
    systemd = os.path.isdir("/run/systemd/system")
    apart = "scope" in backends and not systemd
    if apart:
        backends.remove("scope")
    good = not backends or measure(table, backends)
    if apart and os.geteuid() == 0:
        say("the private systemd")
        good = measure_in_systemd(table) and good
    elif apart:
        table.notes.append("scope: not measured, since there is no systemd and only root can boot a private one")
    for peer in ("s6", "runit"):
        if peer not in [p.name for p in PEERS]:
            table.notes.append(f"{peer} is not installed")
    if OPTIONS.json:
        with open(OPTIONS.json, "w") as f:
            json.dump(table.data(), f, indent=1)
    table.print()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
