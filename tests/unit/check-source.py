#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of docs/hacking.md that a machine can check, so that they do not drift: which layer may include what,
which library is named where, how long a file, a function and the keeper may be, and a little hygiene.

usage: check-source.py SOURCE-ROOT; each broken rule is a line `file:line: what`, the exit status says if there was one
"""
import os
import re
import sys
from fnmatch import fnmatch

# The first pattern that matches a file decides what it may include, by pattern too.
LAYERS = [
    ("src/base/*", ["base/*"]),
    ("src/wire/*", ["base/*", "wire/*"]),
    ("src/dialog/*", ["base/*", "wire/*", "dialog/*"]),
    ("src/embed/*", ["base/*", "wire/*", "dialog/*", "embed/*", "tractor-config.h"]),
    ("src/libtractor/*", ["base/*", "wire/*", "dialog/*", "embed/*", "libtractor/*", "tractor/*"]),
    ("src/include/tractor/*", ["tractor/*"]),
    ("src/child/*", ["base/*", "child/*"]),
    ("src/logger/*", ["base/*", "logger/*"]),
    ("src/keeper/*", ["base/*", "child/*", "keeper/*", "config.h", "tractor-config.h"]),
    ("src/supervisor/core/*", ["base/*", "supervisor/core/*"]),
    ("src/supervisor/*",
     ["base/*", "wire/*", "dialog/*", "supervisor/*", "keeper/protocol.h", "keeper/spec.h", "child/spec.h",
      "logger/protocol.h",
      "tractor-config.h",
      "tractor/*"]),
    ("src/tractorctl/*",
     ["base/*", "wire/*", "dialog/*", "embed/*", "tractorctl/*", "tractor/*", "config.h", "tractor-config.h"]),
    ("src/stdio/*", ["base/*", "wire/*", "dialog/*", "stdio/*", "tractor/*", "config.h", "tractor-config.h"]),
    ("src/crash/*", ["base/*", "wire/*", "crash/*", "libtractor/crash-note.h"]),
    ("src/codegen/*", ["base/*", "codegen/*", "tractor/*", "config.h", "tractor-config.h"]),
]

# Who may include a header at all, whatever its layer allows.
ONLY = [
    ("supervisor/core/*",
     ["src/supervisor/core/*", "src/supervisor/manager*", "src/supervisor/config*", "src/supervisor/events*",
      "src/supervisor/methods*", "src/supervisor/node-json*"]),
    ("json.h", ["src/wire/json*.c", "src/wire/json-*.h", "src/libtractor/*", "src/include/tractor/*"]),
    ("json-c/*", ["src/wire/json*.c", "src/wire/json-*.h", "src/libtractor/*", "src/include/tractor/*"]),
    ("elfutils/*", ["src/crash/unwind.c"]),
    ("seccomp.h", ["src/supervisor/policy.c"]),
    ("systemd/sd-bus*.h", ["src/supervisor/backend-scope*.[ch]", "src/supervisor/bus.[ch]"]),
]

# The core decides; it may compute, and nothing else.
PURE = ("src/supervisor/core/*",
        ["assert.h", "errno.h", "inttypes.h", "limits.h", "math.h", "stdarg.h", "stdbool.h", "stddef.h",
         "stdint.h", "stdio.h", "stdlib.h", "string.h"])
IMPURE_CALLS = re.compile(
    r"\b(clock_gettime|time|rand|random|getrandom|getpid|getenv|open|read|write|printf|fprintf|puts|log_\w+)\s*\(")

MAX_FILE = 600
MAX_FUNCTION = 100
# Of code: its headers are mostly the contract with the supervisor.
MAX_KEEPER = 1500
# Generated, vendored or not text.
SKIPPED_DIRS = {".git", "corpus", "__pycache__"}
CODE = (".c", ".h", ".sh", ".py", ".build")

problems = []


def problem(path, line, text):
    problems.append(f"{path}:{line}: {text}")


def matches(name, patterns):
    return any(fnmatch(name, p) for p in patterns)


def files(root):
    for base, dirs, names in os.walk(root):
        dirs[:] = sorted(d for d in dirs if d not in SKIPPED_DIRS and not (
            base == root and (d == "build" or d.startswith("build-") or d.startswith(".") and d != ".ci")))
        for name in sorted(names):
            full = os.path.join(base, name)
            if os.path.isfile(full) and not os.path.islink(full):
                yield os.path.relpath(full, root), full


def check_include(path, number, system, header):
    allowed = next((a for p, a in LAYERS if fnmatch(path, p)), None)
    if not system and allowed is not None and not matches(header, allowed):
        problem(path, number, f"must not include {header}: only {', '.join(allowed)}")
    for pattern, owners in ONLY:
        if path.startswith("src/") and fnmatch(header, pattern) and not matches(path, owners):
            problem(path, number, f"must not include {header}: only {', '.join(owners)} may")
    if system and fnmatch(path, PURE[0]) and header not in PURE[1]:
        problem(path, number, f"must not include <{header}>: the core is pure")


def check_includes(path, lines):
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if found:
            check_include(path, number, found[1] == "<", found[2])


def check_pure(path, lines):
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m[0].count("\n"), "\n".join(lines), flags=re.S)
    for number, line in enumerate(text.split("\n"), 1):
        found = IMPURE_CALLS.search(re.sub(r'"(\\.|[^"\\])*"', '""', line))
        if found:
            problem(path, number, f"must not call {found[1]}(): the core is pure")


def check_functions(path, lines):
    """clang-format puts the braces of a function, and of nothing else, alone in column 0."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start:
            if number - start + 1 > MAX_FUNCTION:
                problem(path, start, f"function of {number - start + 1} lines, at most {MAX_FUNCTION}")
            start = None


def check_code(path, lines):
    if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
        problem(path, 1, "no SPDX line")
    if path.endswith((".c", ".h")):
        check_includes(path, lines)
        check_functions(path, lines)
        if len(lines) > MAX_FILE:
            problem(path, len(lines), f"{len(lines)} lines, at most {MAX_FILE}")
        if fnmatch(path, PURE[0]):
            check_pure(path, lines)


def check_text(path, lines):
    for number, line in enumerate(lines, 1):
        if line != line.rstrip(" \t\r"):
            problem(path, number, "trailing white space")


def main(root):
    keeper = checked = 0
    for path, full in files(root):
        with open(full, "rb") as f:
            data = f.read()
        if b"\0" in data:
            continue
        if not path.startswith("tests/fuzz/"):
            check_text(path, data.decode("utf-8", "replace").split("\n"))
        lines = data.decode("utf-8", "replace").splitlines()
        if data and not data.endswith(b"\n") and path.endswith(CODE):
            problem(path, len(lines), "no newline at the end")
        if path.startswith(("src/", "tests/", "contrib/")) and path.endswith(CODE):
            checked += 1
            check_code(path, lines)
        if fnmatch(path, "src/keeper/*.c"):
            keeper += len(lines)
    if keeper > MAX_KEEPER:
        problem("src/keeper", 0, f"{keeper} lines, at most {MAX_KEEPER}")
    for text in problems:
        print(text)
    # A wrong root would otherwise be a clean one.
    if checked < 20:
        sys.exit(f"{root}: only {checked} source files found")
    print(f"{checked} files checked, {len(problems)} problems; keeper: {keeper} lines")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
