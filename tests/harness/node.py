# SPDX-License-Identifier: Apache-2.0
"""Scripts for Node.js with the one library that docs/examples/node/package-lock.json pins."""

import os
import shutil
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def install(build, folder, name):
    """Copies a folder's scripts beside the library, in the build directory; npm checks that against its hash."""
    pinned = os.path.join(ROOT, "docs/examples/node")
    target = os.path.join(build, "tests/process", name)
    os.makedirs(target, exist_ok=True)
    wanted = open(os.path.join(pinned, "package-lock.json"), "rb").read()
    lock = os.path.join(target, "package-lock.json")
    have = open(lock, "rb").read() if os.path.exists(os.path.join(target, "node_modules/.package-lock.json")) else None
    for source in pinned, folder:
        for file in os.listdir(source):
            shutil.copy(os.path.join(source, file), target)
    if have != wanted:
        subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"], cwd=target, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=120,
                       env=dict(os.environ, npm_config_update_notifier="false"))
    return target
