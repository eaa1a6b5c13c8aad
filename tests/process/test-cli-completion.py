#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The completion of bash: it knows the verbs and options that tractorctl has, and the paths that its supervisor has."""

import os
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ctl import CTL, Run, ctl, running  # noqa: E402
from tractor import LIMIT, main, sleeper  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "contrib", "bash-completion", "tractorctl")
BREAKS = " \t\n\"'><=;|&(:"


def split(line):
    """As readline splits for a completion: at COMP_WORDBREAKS, of which '=' and ':' stand as words of their own."""
    words = [""]
    for c in line:
        if c == " ":
            words.append("")
        elif c in "=:":
            words += [c, ""] if words[-1] else [c, ""][-2:]
        else:
            words[-1] += c
    cleaned = [w for w in words[:-1] if w]
    last = words[-1]
    if not last and line[-1:] in "=:":
        return cleaned  # the word is the separator itself
    return cleaned + [last]


def complete(line, r=None, env=None):
    words = split("tractorctl " + line)
    script = f'. "{SCRIPT}"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tractorctl; printf "%s\\n" "${{COMPREPLY[@]}}"'
    environ = {k: v for k, v in os.environ.items() if k != "TRACTOR_SOCKET"}
    if r:
        environ["TRACTOR_SOCKET"] = r.socket
    environ |= env or {}
    environ["PATH"] = os.path.dirname(CTL) + ":" + environ["PATH"]
    done = subprocess.run(["bash", "--norc", "-c", script, "bash", *words], capture_output=True, text=True, timeout=LIMIT,
                          env=environ, stdin=subprocess.DEVNULL)
    assert done.stderr == "" and done.returncode == 0, done
    return {x for x in done.stdout.splitlines() if x}


def verbs():
    return {line.split()[0] for line in ctl("help").splitlines() if line.startswith("  ") and line[2] != " "}


def words(backend):
    known = {v for v in verbs() if not v.startswith("-")}
    assert complete("") == known, complete("") ^ known
    assert complete("re") == {"restart"} and complete("--json=short li") == {"list"}
    assert complete("-q --socket x st") == {"status", "start", "stream"}
    for verb in known:
        for option in complete(f"{verb} -") - {"-H", "--host"}:
            done = subprocess.run([CTL, verb, option, "1"], capture_output=True, text=True, timeout=LIMIT,
                                  stdin=subprocess.DEVNULL, env=os.environ | {"TRACTOR_SOCKET": "/nowhere"})
            assert "no option" not in done.stderr and "no such option" not in done.stderr, done
        options = {w.rstrip(",") for line in ctl("help", verb).splitlines() if line.startswith("  -")
                   for w in line.split()[:2] if w.startswith("-")}
        assert options <= complete(f"{verb} -"), options - complete(f"{verb} -")
    assert "--ready" in complete("spawn -") and complete("help cance") == {"cancel"}


def values(backend):
    assert complete("--json=") == {"pretty", "short", "off"}
    assert complete("list --json /") == complete("list /"), "--json alone is an option without a value"
    assert complete("--json=p") == {"pretty"}
    assert complete("kill /x -s T") == {"TERM"}
    assert complete("wait --for=r") == {"ready"}
    assert complete("spawn /t x --restart t") == {"transient", "temporary"}
    assert complete("set-limit /t Mem") == {"MemoryMax=", "MemoryHigh=", "MemoryLow=", "MemorySwapMax="}
    assert complete("spawn /t x -- ls --re") == set()
    assert complete("spawn /t x --nice 3 ") == {"--"}


def commands(backend):
    with tempfile.TemporaryDirectory(prefix="tractor-test-") as folder:
        program = os.path.join(folder, "tractor-test-only")
        with open(program, "w") as f:
            f.write("#!/bin/sh\n")
        os.chmod(program, 0o755)
        env = {"PATH": folder + ":" + os.environ["PATH"]}
        for line in ("spawn /t x -- ", "spawn /t x --nice 3 --env=A=b -- "):
            assert complete(line + "tractor-test-o", env=env) == {"tractor-test-only"}, line
            assert complete(line + folder + "/tractor-te") == {program}, line
            assert complete(line + "cat --flag " + folder + "/tractor-te") == {program}, "files behind the program"
        assert complete("spawn /t x -- cat tractor-test-o", env=env) == set(), "no program behind the program"


def runs(backend):
    """What `tractorctl run` runs is known by name, and asked by it."""
    name = f"known{os.getpid()}"
    r = Run({"name": name, "children": [sleeper("apple")]}, backend, named=False)
    try:
        assert complete(f"--run {name[:-1]}") == complete(f"--run={name[:-1]}") == complete(f"tree --run {name}") == {name}
        for place in (f"--run {name}", f"--run={name}"):
            assert complete(f"{place} res") == {"restart"}, place
            assert complete(f"{place} restart /") == {f"/{name}", f"/{name}/apple"}, place
            assert complete(f"restart {place} /") == {f"/{name}", f"/{name}/apple"}, place
    finally:
        r.end(0, signal.SIGINT)


def paths(backend):
    with running({"children": [sleeper("apple"), sleeper("pear"), {"name": "n", "children": [sleeper("x")]}]}, backend) as r:
        every = {"/t", "/t/apple", "/t/pear", "/t/n", "/t/n/x"}
        assert complete("status ", r) == complete("restart /t/apple ", r) == every
        assert complete("tree /t/n", r) == {"/t/n", "/t/n/x"}
        assert complete("spawn ", r) == {"/t", "/t/n"}
        assert complete("logs /t/a", r) == complete("call /t/a", r) == {"/t/apple"}
        assert complete("find ", r) == {"apple", "pear", "x"}
        assert complete("kill -s KILL --no-wait /t/p", r) == {"/t/pear"}
        assert complete(f"--socket {r.socket} status /t/n/") == complete(f"--socket={r.socket} status /t/n/") == {"/t/n/x"}
        assert complete("call /t/apple ", r) == set()
        assert complete("-H there status /", r) == set(), "no ssh behind a key"


def silence(backend):
    assert complete("status /", env={"TRACTOR_SOCKET": "/nowhere"}) == set()
    with running({"children": [sleeper("a")]}, backend) as r:
        supervisor = r.json("status")["pid"]
        os.kill(supervisor, 19)
        try:
            begin = time.monotonic()
            assert complete("status /", r) == set()
            assert time.monotonic() - begin < 4
        finally:
            os.kill(supervisor, 18)


if __name__ == "__main__":
    main([words, values, commands, runs, paths, silence])
