#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The library exports what its headers declare, libtractor.sym names each of it, and a manual page tells of it: no more and no less.

usage: check-exports.py SOURCE-ROOT LIBRARY"""
import os
import re
import subprocess
import sys

root, library = sys.argv[1:]
headers = os.path.join(root, "src/include/tractor")
declared = set()
for name in sorted(os.listdir(headers)):
    with open(os.path.join(headers, name)) as f:
        text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    text = re.sub(r"static inline.*?\n}", "", text, flags=re.S)
    text = re.sub(r"^\s*#.*?(?<!\\)$", "", text, flags=re.S | re.M)
    declared |= set(re.findall(r"\b(tractor_\w+)\s*\([^;{}]*\)[^;{}()]*;", text)) - set(
        re.findall(r"\(\*(tractor_\w+)\)", text))
with open(os.path.join(root, "src/libtractor/libtractor.sym")) as f:
    named = set(re.findall(r"^\s+(tractor_\w+);", f.read(), flags=re.M))
symbols = subprocess.run(["nm", "-D", "--defined-only", library], check=True, capture_output=True, text=True).stdout
exported = {line.split()[2].split("@")[0] for line in symbols.splitlines() if line.split()[1] in "TDBW"}
pages = ""
for name in sorted(os.listdir(os.path.join(root, "docs/man"))):
    if name.endswith(".3"):
        with open(os.path.join(root, "docs/man", name)) as f:
            pages += f.read()
documented = {name for name in declared if re.search(rf"\b{name}\b", pages)}
problems = 0
for what, missing in (("declared and not exported", declared - exported), ("exported and not declared", exported - declared),
                      ("exported and not in libtractor.sym", exported - named), ("in libtractor.sym and not exported", named - exported),
                      ("declared and in no manual page", declared - documented)):
    for name in sorted(missing):
        print(f"{name}: {what}")
        problems += 1
print(f"{len(exported)} functions exported, {problems} problems")
sys.exit(problems > 0)
