#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""contrib/gdb/tractor-gdb.py on a live program and on a core file of it."""
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile

BUILD = os.environ["TRACTOR_TEST_BUILD"]
SCRIPT = os.path.join(sys.argv[1], "contrib/gdb/tractor-gdb.py")
PROGRAM = os.path.join(BUILD, "tests/helpers/parked")
STRICT = os.environ.get("TRACTOR_TEST_STRICT") == "1"


def skip(why):
    print(f"skipped: {why}", file=sys.stderr)
    sys.exit(1 if STRICT else 77)


def gdb(*args):
    commands = ["tractor tasks", "tractor bt 2", "tractor bt all", "tractor bt 77"]
    result = subprocess.run(["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", *args, "-ex", f"source {SCRIPT}",
                             *(word for c in commands for word in ("-ex", c))],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    return result.stdout


def check(text):
    def find(pattern):
        assert re.search(pattern, text, re.M), f"no {pattern} in:\n{text}"

    find(r"^ +1 +- +parked +main +nursery$")
    find(r"^ +2 +1 +parked +sleeper +cancellation$")
    find(r"^ +3 +1 +parked +reader +descriptor 0$")
    # Each frame of the recursion, in order, down to the first one of the task.
    below = r"(#\d+ +sleep_below at .*parked\.c:\d+\n)"
    find(rf'^task 2 "sleeper" parked cancellation\n(#.*\n)*#\d+ +tractor_sleep_forever .*\n{below}{{3}}'
         r"#\d+ +sleeper at .*parked\.c:\d+\n#\d+ +task_main ")
    find(r'^task 3 "reader"(.*\n)+#\d+ +tractor_wait_fd .*\n#\d+ +reader at ')
    find(r'^task 1 "main"(.*\n)+#\d+ +tractor_nursery_close .*\n#\d+ +body at ')
    find(r"no such task")


def main():
    if platform.machine() != "x86_64":
        skip("the script knows x86_64 alone")
    if not shutil.which("gdb") or not shutil.which("gcore"):
        skip("no gdb")
    with tempfile.TemporaryDirectory(prefix="tractor-gdb-") as folder:
        process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "parked\n"
        check(gdb("-p", str(process.pid)))
        core = os.path.join(folder, "core")
        subprocess.run(["gcore", "-o", core, str(process.pid)], check=True, timeout=60, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # It goes on as if nobody had looked.
        process.communicate("")
        assert process.returncode == 0, process.returncode
        check(gdb(PROGRAM, f"{core}.{process.pid}"))


main()
