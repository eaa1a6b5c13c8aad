#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Portals of programs on libtractor over the pipes of a real ssh, to another such program."""

import os
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))
from ssh import over_ssh  # noqa: E402
from tractor import LIMIT, main, program  # noqa: E402

PORTAL = program("ssh-portal")
SERVE = ["ssh-portal", "serve"]
ACTOR = {"name": "a", "exec": [PORTAL, "actor"], "channel": "fd", "ready": "channel"}


def portal(ssh, mode, *there):
    os.symlink(PORTAL, os.path.join(ssh.dir, "bin", "ssh-portal"))
    done = subprocess.run([PORTAL, mode, *shlex.split(ssh.env["TRACTOR_SSH"]), "-T", "there", *there],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=4 * LIMIT)
    assert done.returncode == 0 and done.stdout == "", done


def a_program_is_talked_to(backend):
    with over_ssh({"children": [ACTOR]}, backend) as (_, ssh):
        portal(ssh, "talk", *SERVE)


def an_actor_is_attached_to(backend):
    with over_ssh({"children": [ACTOR]}, backend) as (_, ssh):
        portal(ssh, "attach", "tractorctl", "bridge")


def an_attached_actor_that_is_killed_is_told(backend):
    with over_ssh({"children": [ACTOR]}, backend) as (_, ssh):
        portal(ssh, "attach-lose-peer", "tractorctl", "bridge")


def a_killed_ssh_is_told(backend):
    with over_ssh({"children": [ACTOR]}, backend) as (_, ssh):
        portal(ssh, "lose-carrier", *SERVE)


def a_killed_program_is_told(backend):
    with over_ssh({"children": [ACTOR]}, backend) as (_, ssh):
        portal(ssh, "lose-peer", *SERVE)


if __name__ == "__main__":
    main([a_program_is_talked_to, an_actor_is_attached_to, an_attached_actor_that_is_killed_is_told, a_killed_ssh_is_told,
          a_killed_program_is_told])
