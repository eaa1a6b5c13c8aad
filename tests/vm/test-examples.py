#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What an example can show only where limits of memory hold: the worker that leaks is ended by the kernel, and said to have been,
while the others under the same limit find their primes."""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from tractor import BUILD, LIMIT, main  # noqa: E402

PRIMES = [1570341764013157, 1637027521802551, 1880450821379411, 1893530391196711, 2447109360961063, 2, 5]
OTHERS = [1099726899285419, 1, 4]


def concurrent_primes(backend):
    done = subprocess.run([os.path.join(BUILD, "docs/examples/concurrent_primes")], env=dict(os.environ, TRACTOR_BACKEND=backend),
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=LIMIT)
    said = f"{done.returncode}\n{done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and done.stderr == "", said
    assert re.fullmatch(r"the leaking one: /concurrent_primes/pool/leaking killed by SIGKILL \(oom\)", lines[0]), said
    due = [f"{n} is prime: true" for n in PRIMES] + [f"{n} is prime: false" for n in OTHERS]
    assert sorted(lines[1:]) == sorted(due), said


if __name__ == "__main__":
    main([concurrent_primes])
