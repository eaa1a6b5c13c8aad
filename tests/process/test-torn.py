#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Other tests, once more, where sockets give and take what there is by pieces of any size, late and joined (helpers/torn.c): all
of them, the supervisor's, the actors', their clients'. By night many more, and at seeds that are drawn.

usage: test-torn.py [every] [ROUNDS=N]; TRACTOR_SEED=N repeats a round's choices, how processes fall together does not."""

import os
import random
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))
from faults import preloaded  # noqa: E402
from tractor import BUILD  # noqa: E402

# script or program: those of its tests that are run in the ladder; none: all.
SOME = {
    "test-portals.py": [], "test-nursery.py": ["of_a_client", "of_an_actor", "closed_by_its_actor", "deep"],
    "test-control.py": [], "test-stdio.py": ["calls", "two_ways", "long_lines"], "test-entry.py": [],
    "test-clients.py": ["python", "python_asyncio", "actor"], "test-examples.py": ["beside_a_supervisor"],
    "test-cli-call.py": ["call_interrupted_as_the_hello_comes"]}
EVERY = [
    *SOME, "test-early-ends.py", "test-joins.py", "test-outcome.py", "test-keys.py", "test-access.py", "test-apply.py",
    "test-expose.py", "test-acceptance.py", "test-supervision.py", "test-lifetimes.py", "test-stdio-ends.py",
    "test-stdio-programs.py", "test-retry.py", "test-retry-ctl.py", "test-cli.py", "test-cli-errors.py", "test-cli-remote.py",
    "test-cli-tasks.py", "test-run.py", "test-python-actors.py", "test-python.py", "test-actors", "test-actor-ends",
    "test-actor-failures", "test-dialogs", "test-races", "test-actors-deaths"]


# How many receives 100 messages take.
PIECES = """
import socket
a, b = socket.socketpair()
receives = 0
for _ in range(100):
    a.sendall(b"x" * 1000)
    left = 1000
    while left:
        left -= len(b.recv(1000))
        receives += 1
print(receives)
"""


def environment(seed):
    return os.environ | preloaded("torn.so") | {"TORN_SEED": str(seed), "BACKEND": "process"}


def works(seed):
    """It would be missed by nobody."""
    done = subprocess.run([sys.executable, "-c", PIECES], env=environment(seed), check=True, capture_output=True, text=True)
    assert int(done.stdout) > 150, done


def torn(name, tests, seed):
    env = environment(seed) | {"TORN_OTHERS": "1"}
    if name.endswith(".py"):
        command = [sys.executable, os.path.join(HERE, name)]
    else:
        command = [os.path.join(BUILD, "tests", "process", name)]
    print(f"== {name}, TRACTOR_SEED={seed}", file=sys.stderr, flush=True)
    subprocess.run([*command, *tests], env=env, check=True)


if __name__ == "__main__":
    every = "every" in sys.argv
    rounds = next((int(a.split("=")[1]) for a in sys.argv if a.startswith("ROUNDS=")), 1)
    for _ in range(rounds):
        seed = int(os.environ.get("TRACTOR_SEED") or (random.randrange(1, 1 << 31) if every else 1))
        works(seed)
        for name in EVERY if every else SOME:
            torn(name, [] if every else SOME[name], seed)
