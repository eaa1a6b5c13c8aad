# SPDX-License-Identifier: Apache-2.0
"""A real ssh on this machine, to a supervisor that runs."""

import contextlib
import os
import pwd
import shutil
import subprocess
import sys

from ctl import CTL, ctl, running
from tractor import skip

SSHD = "/usr/sbin/sshd"


class Ssh:
    """An sshd of our own: its keys, its configuration; it runs this build's tractorctl. Each ssh starts one for itself and talks to
    it over pipes: no port of the machine is used, and there is nobody to wait for until he listens."""

    def __init__(self, r):
        self.dir = os.path.join(r.dir, "ssh")
        os.makedirs("/run/sshd", 0o755, exist_ok=True)  # a fresh /run is part of how a test is run
        os.mkdir(self.dir, 0o700)
        bin_dir = os.path.join(self.dir, "bin")
        os.mkdir(bin_dir)
        os.symlink(CTL, os.path.join(bin_dir, "tractorctl"))
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file(key)], check=True)
        shutil.copy(self.file("user.pub"), self.file("authorized"))
        with open(self.file("host.pub")) as f:
            known = f"there {f.read()}"
        sanitizers = "".join(f' "{k}={v}"' for k, v in os.environ.items() if k.endswith("SAN_OPTIONS"))
        self.write("sshd", f"HostKey {self.file('host')}\nPidFile none\n"
                   f"AuthorizedKeysFile {self.file('authorized')}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
                   f"PasswordAuthentication no\nSetEnv \"PATH={bin_dir}:/usr/bin:/bin\" \"TRACTOR_SOCKET={r.socket}\""
                   f"{sanitizers}\n")
        self.write("known", known)
        self.write("config", f"Host there\n ProxyCommand {SSHD} -i -f {self.file('sshd')} -E {self.file('log')}\n"
                   f" User {pwd.getpwuid(os.getuid()).pw_name}\n IdentityFile {self.file('user')}\n IdentitiesOnly yes\n"
                   f" UserKnownHostsFile {self.file('known')}\n BatchMode yes\n")
        self.env = {"TRACTOR_SSH": f"ssh -F {self.file('config')}"}

    def file(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.file(name), "w") as f:
            f.write(text)

    def ctl(self, *args, env=None, **options):
        return ctl("-H", "there", *args, env=self.env | (env or {}), **options)


@contextlib.contextmanager
def over_ssh(tree, backend):
    if not os.path.exists(SSHD) or not shutil.which("ssh"):
        skip("no ssh and sshd here")
    if os.getuid() != 0:
        skip("sshd wants to be root")
    with running(tree, backend) as r:
        ssh = Ssh(r)
        try:
            yield r, ssh
        except BaseException:
            if os.path.exists(ssh.file("log")):
                sys.stderr.write(open(ssh.file("log")).read())
            raise
