#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Two machines of the Python client's core do whatever they may, over streams that are cut anywhere.

Every call must end with its own answer or a reason, every item must come once and in order or be counted as lost, no side may
ever find fault with a frame of the other's, and at the end nothing may be open.

usage: test-python-random.py SOURCE-ROOT [SEED...]"""
import os
import random
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(sys.argv[1], "contrib/python"))

from python_pair import Pair  # noqa: E402
from tractor import errors  # noqa: E402
from tractor.dialog import NOTHING, POLICIES, WINDOW, Served  # noqa: E402
from tractor.events import Closed, Complaint  # noqa: E402


class Sender:
    """Numbers the items of one direction; what it has put is checked against what came."""

    def __init__(self, who):
        self.who, self.next, self.came = who, 0, []

    def act(self, rng):
        conversation = self.who
        if conversation.done or not conversation.started or conversation.out.stopping:
            return
        if rng.random() < 0.04:
            conversation.stop()
            return
        for _ in range(rng.randrange(1, 40)):
            try:
                if not conversation.send(self.next):
                    break
            except errors.Overrun:
                break
            self.next += 1
        assert len(conversation.out.queue) <= max(WINDOW, conversation.out.credit)

    def take(self, other, rng):
        for _ in range(rng.randrange(0, 30)):
            item = other.take()
            if item is NOTHING:
                break
            self.came.append(item)

    def check(self, other):
        assert self.came == sorted(set(self.came)) and (not self.came or self.came[-1] < self.next)
        gaps = (self.came[-1] + 1 if self.came else 0) - len(self.came)
        assert gaps == other.lost, (gaps, other.lost)
        assert len(other.incoming.items) <= other.incoming.window


def random_run(seed):
    rng = random.Random(seed)
    biggest = rng.choice([1, 7, 100, 5000])
    p = Pair(cut=lambda n: rng.randrange(1, biggest + 1))
    calls, talks, waiting = [], {}, {}
    for _ in range(rng.randrange(50, 300)):
        what = rng.random()
        if what < 0.15:
            asker = rng.choice([p.client, p.server])
            if asker is p.server and not asker.peer_hello:
                continue
            options = {"deadline": rng.uniform(0.1, 5)} if rng.random() < 0.2 else {}
            if rng.random() < 0.7:
                call = asker.open("d", [len(calls)], window=rng.choice([1, 2, 64]), overrun=rng.choice(POLICIES), **options)
            else:
                call = asker.call("c", [len(calls)], **options)
            calls.append(call)
        elif what < 0.25 and calls:
            rng.choice(calls).cancel()
        elif what < 0.3 and p.client.peer_hello:
            p.clock.now += rng.uniform(0, 2)
        for call, served, up, down in talks.values():
            up.act(rng)
            down.act(rng)
            up.take(served, rng)
            down.take(call, rng)
        for events in pump(p, rng):
            for event in events:
                serve(event, rng, calls, talks, waiting)
        for served in list(waiting.values()):
            if rng.random() < 0.05 and (served.started or not served.dialog):
                finish(served, rng, waiting)
    settle(p, rng, calls, talks, waiting)


def pump(p, rng):
    """Some deliveries, in some order."""
    yield p.client.tick()
    yield p.server.tick()
    for _ in range(rng.randrange(0, 60)):
        source, target = rng.choice([(p.client, p.server), (p.server, p.client)])
        yield p.step(source, target) or []


def serve(event, rng, calls, talks, waiting):
    if not isinstance(event, Served):
        assert not isinstance(event, (Closed, Complaint)), event
        return
    if event.cancelled:
        event.fail(errors.Cancelled() if rng.random() < 0.8 else ValueError("mine"))
        waiting.pop(id(event), None)
    elif id(event) not in waiting and not event.started and not event.done:
        waiting[id(event)] = event
        if event.dialog:
            event.start(0, rng.choice([1, 3, 64]), rng.choice(POLICIES))
            call = calls[event.params[0]]
            talks[id(event)] = call, event, Sender(call), Sender(event)


def finish(served, rng, waiting):
    del waiting[id(served)]
    if served.done:
        return
    if rng.random() < 0.7:
        served.respond(served.params)
    else:
        served.fail(KeyError("k"))


def settle(p, rng, calls, talks, waiting):
    """Everything that is open ends, each answer is the right one, and nothing remains."""
    for _ in range(10000):
        for call, served, up, down in talks.values():
            up.take(served, rng)
            down.take(call, rng)
        for served in list(waiting.values()):
            finish(served, rng, waiting)
        for events in pump(p, rng):
            for event in events:
                serve(event, rng, calls, talks, waiting)
        if p.client.idle and p.server.idle and not waiting:
            break
    assert p.client.idle and p.server.idle, "something stays open"
    for number, call in enumerate(calls):
        assert call.done and (call.error is not None or call.result == [number])
        assert call.error is None or type(call.error) in (
            errors.Cancelled, errors.RemoteError, errors.DeadlineExceeded, errors.Overrun), repr(call.error)
    for call, served, up, down in talks.values():
        up.take(served, random.Random(0))
        up.check(served)
        down.check(call)
    for machine in (p.client, p.server):
        assert "-32600" not in p.said(machine) and "-32700" not in p.said(machine), "a frame out of order"


def test_random():
    seeds = [int(s) for s in sys.argv[2:]] or range(60)
    for seed in seeds:
        try:
            random_run(seed)
        except BaseException:
            print(f"seed {seed}", file=sys.stderr)
            raise


test_random()
