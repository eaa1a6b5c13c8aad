#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each function of the public headers is in exactly one manual page: in its NAME, and in its SYNOPSIS, under its header and with
its prototype as it is there; no page has one that is not there; groff has nothing to say about any page, and none shows its markup.

usage: check-man.py SOURCE-ROOT"""
import os
import re
import shutil
import subprocess
import sys

root = sys.argv[1]
problems = []


def prototypes():
    found = {}
    headers = os.path.join(root, "src/include/tractor")
    for name in sorted(os.listdir(headers)):
        with open(os.path.join(headers, name)) as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        text = re.sub(r"static inline.*?\n}", "", text, flags=re.S)
        text = re.sub(r"^\s*#.*?(?<!\\)$", "", text, flags=re.S | re.M)
        text = re.sub(r"TRACTOR_(BEGIN|END)_DECLS", "", text)
        for line in re.split("[;{}]", text):
            line = re.sub(r" TRACTOR_PRINTF\(.*", "", " ".join(line.split()))
            line = line.replace("( ", "(").replace(" )", ")")
            m = re.match(r"(?!typedef)[\w ]+?[ *]+(tractor_\w+)\(.*\)$", line)
            if m:
                found[m.group(1)] = (name, line)
    return found


def section(page, name):
    m = re.search(rf"^\.SH {name}\n(.*?)(?=^\.SH )", page, re.S | re.M)
    return m.group(1) if m else ""


def spoken(page):
    """A SYNOPSIS as it is read: fonts and their quotes taken away."""
    lines = []
    for line in section(page, "SYNOPSIS").splitlines():
        if line.startswith(".BI "):
            line = "".join(a or b for a, b in re.findall(r'"([^"]*)"|(\S+)', line[4:]))
        lines.append(re.sub(r"^\.B ", "", line))
    return "\n".join(lines).replace("\\-", "-")


pages, named, shown = os.path.join(root, "docs/man"), {}, {}
for name in sorted(os.listdir(pages)):
    path = os.path.join(pages, name)
    if shutil.which("groff"):
        r = subprocess.run(["groff", "-t", "-man", "-ww", "-Tascii", "-P-cbou", path], capture_output=True, text=True)
        problems += r.stderr.splitlines()
        # What was to be markup, or was not to be there at all.
        problems += [f"{name}: shows “{line.strip()}”" for line in r.stdout.splitlines() if re.search(r"\\f[BIRP]|TRACTOR_(BEGIN|END)", line)]
    if not name.endswith(".3"):
        continue
    with open(path) as f:
        page = f.read()
    for function in re.findall(r"tractor_\w+", section(page, "NAME")):
        named.setdefault(function, []).append(name)
    header = None
    for line in re.split(r";\n|(?<=>)\n", spoken(page)):
        line = " ".join(w for w in line.split() if w not in (".nf", ".PP"))
        if line.startswith("#include"):
            header = os.path.basename(line.split("<")[1].rstrip(">"))
        elif m := re.search(r"\b(tractor_\w+)\(", line):
            shown.setdefault(m.group(1), []).append((name, header, line))

declared = prototypes()
for function, (header, prototype) in declared.items():
    if len(named.get(function, [])) != 1:
        problems.append(f"{function}: in the NAME of {len(named.get(function, []))} pages")
    at = shown.get(function, [])
    if [(h, p) for _, h, p in at] != [(header, prototype)]:
        problems.append(f"{function}: {header} has “{prototype}”, the pages have {at}")
for function in sorted((set(named) | set(shown)) - set(declared)):
    problems.append(f"{function}: in a page, and in no header")
print("\n".join(problems) or f"{len(declared)} functions in {len(set(v[0] for v in named.values()))} pages")
sys.exit(bool(problems))
