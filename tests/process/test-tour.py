#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the documents of the library show is what runs. In docs/tour.md, and in README.md, each block ```c tour NAME is compiled and run, and ends with what the
```output block behind it says, at its end the status where that is not 0; a `…` stands for anything. The EXAMPLEs of the manual pages are
compiled and run as well, and end with status 0.

usage: test-tour.py [CC=COMPILER] [SANITIZE=…] [NAME…]"""
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

SOURCE = os.environ.get("TRACTOR_TEST_SOURCE") or os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
BUILD = os.environ.get("TRACTOR_TEST_BUILD") or os.path.abspath("build")
LIBRARY = os.path.join(BUILD, "src/libtractor")
LIMIT = float(os.environ.get("TRACTOR_TEST_LIMIT", "20"))
# Handlers and tasks have parameters that not all of them need.
FLAGS = ["-std=gnu17", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-I" + os.path.join(SOURCE, "src/include")]


def argument(name, default):
    return next((a.split("=", 1)[1] for a in sys.argv[1:] if a.startswith(name + "=")), default)


def compiler():
    """As the library was built with: a program on it has to bring the sanitizers along."""
    sanitizer = argument("SANITIZE", "none")
    command = [c for c in shlex.split(argument("CC", "cc")) if os.path.basename(c) != "ccache"]
    return command + ([] if sanitizer == "none" else ["-fsanitize=" + sanitizer])


def programs_of(document):
    """Name, program, output and status of each."""
    with open(os.path.join(SOURCE, document), encoding="utf-8") as f:
        text = f.read()
    found = re.findall(r"^```c tour (\S+)\n(.*?)^```\n```output ?(\d*)\n(.*?)^```$", text, re.S | re.M)
    assert len(found) == len(re.findall(r"^```c tour", text, re.M)), f"{document}: a program has no output right behind it"
    for block in re.findall(r"^```(.+)$", text, re.M):
        assert re.fullmatch(r"c tour [a-z]+|c fragment|output( \d+)?|console|json|sh", block), f"{document}: what is ```{block}?"
    return [(name, code, output, int(status or 0)) for name, code, status, output in found]


def examples():
    pages = os.path.join(SOURCE, "docs/man")
    for page in sorted(p for p in os.listdir(pages) if p.endswith(".3")):
        with open(os.path.join(pages, page), encoding="utf-8") as f:
            blocks = re.findall(r"^\.EX\n(.*?)^\.EE$", f.read(), re.S | re.M)
        assert len(blocks) == 1, f"{page} has {len(blocks)} examples"
        yield page.split(".")[0], blocks[0].replace("\\-", "-").replace("\\&", "").replace("\\e", "\\"), None, 0


def pattern(output):
    return ".*".join(re.escape(part) for part in output.split("…"))


def install(folder):
    """The programs of a supervisor, as they lie side by side where they are installed."""
    os.mkdir(folder)
    for path, _, names in os.walk(os.path.join(BUILD, "src")):
        for name in names:
            if re.fullmatch(r"tractord|tractor-[a-z]+", name) and os.access(os.path.join(path, name), os.X_OK):
                os.symlink(os.path.join(path, name), os.path.join(folder, name))


def check(cc, folder, name, code, output, status):
    program = os.path.join(folder, name)
    with open(program + ".c", "w") as f:
        f.write(code)
    flags = shlex.split(subprocess.run(["pkg-config", "--cflags", "--libs", "json-c"], check=True, capture_output=True, text=True).stdout)
    subprocess.run([*cc, *FLAGS, program + ".c", "-o", program, "-L" + LIBRARY, "-ltractor", "-Wl,-rpath," + LIBRARY, *flags], check=True)
    env = dict(os.environ, TRACTOR_LIBEXECDIR=os.path.join(folder, "libexec"), XDG_RUNTIME_DIR=folder)
    env.pop("TRACTOR_SOCKET", None)
    done = subprocess.run([program], env=env, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, text=True)
    # What the address sanitizer has to say about stacks of one's own is no news.
    said = done.stdout + re.sub(r"^==\d+==WARNING: ASan doesn't fully support makecontext.*\n", "", done.stderr, flags=re.M)
    assert done.returncode == status, f"{name} ended with {done.returncode}, not {status}:\n{said}"
    assert output is None or re.fullmatch(pattern(output), said), f"{name} said\n{said}instead of\n{output}"


def main():
    names = [a for a in sys.argv[1:] if "=" not in a]
    cc = compiler()
    if not shutil.which(cc[0]):
        print(f"skipped: no {cc[0]} here", file=sys.stderr)
        sys.exit(1 if os.environ.get("TRACTOR_TEST_STRICT") == "1" else 77)
    with tempfile.TemporaryDirectory() as folder:
        install(os.path.join(folder, "libexec"))
        failures = 0
        for name, code, output, status in [*programs_of("docs/tour.md"), *programs_of("README.md"), *examples()]:
            if names and name not in names:
                continue
            print(f"-- {name}", file=sys.stderr, flush=True)
            try:
                check(cc, folder, name, code, output, status)
            except (AssertionError, subprocess.SubprocessError) as e:
                print(f"   {e}", file=sys.stderr, flush=True)
                failures += 1
        sys.exit(failures > 0)


main()
