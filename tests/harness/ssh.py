# SPDX-License-Identifier: Apache-2.0
"""A real ssh on this machine, to a supervisor that runs."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import sys
import time

from ctl import CTL, ctl, running
from tractor import LIMIT, skip

SSHD = "/usr/sbin/sshd"


def free_port():
    with contextlib.closing(socket.socket()) as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Ssh:
    """An sshd of our own: its keys, its configuration, a port above; it runs this build's tractorctl."""

    def __init__(self, r):
        self.dir, self.port = os.path.join(r.dir, "ssh"), free_port()
        os.makedirs("/run/sshd", 0o755, exist_ok=True)  # a fresh /run is part of how a test is run
        os.mkdir(self.dir, 0o700)
        bin_dir = os.path.join(self.dir, "bin")
        os.mkdir(bin_dir)
        os.symlink(CTL, os.path.join(bin_dir, "tractorctl"))
        for key in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.file(key)], check=True)
        shutil.copy(self.file("user.pub"), self.file("authorized"))
        with open(self.file("host.pub")) as f:
            known = f"[127.0.0.1]:{self.port} {f.read()}"
        sanitizers = "".join(f' "{k}={v}"' for k, v in os.environ.items() if k.endswith("SAN_OPTIONS"))
        self.write("sshd", f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {self.file('host')}\nPidFile none\n"
                   f"AuthorizedKeysFile {self.file('authorized')}\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n"
                   f"PasswordAuthentication no\nSetEnv \"PATH={bin_dir}:/usr/bin:/bin\" \"TRACTOR_SOCKET={r.socket}\""
                   f"{sanitizers}\n")
        self.write("known", known)
        self.write("config", f"Host there\n HostName 127.0.0.1\n Port {self.port}\n User {pwd.getpwuid(os.getuid()).pw_name}\n"
                   f" IdentityFile {self.file('user')}\n IdentitiesOnly yes\n UserKnownHostsFile {self.file('known')}\n"
                   " BatchMode yes\n")
        self.log = open(self.file("log"), "w")
        self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.file("sshd")], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        self.env = {"TRACTOR_SSH": f"ssh -F {self.file('config')}"}
        deadline = time.monotonic() + LIMIT
        while "Server listening" not in open(self.file("log")).read():
            assert self.process.poll() is None and time.monotonic() < deadline, open(self.file("log")).read()
            time.sleep(0.01)

    def file(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.file(name), "w") as f:
            f.write(text)

    def ctl(self, *args, env=None, **options):
        return ctl("-H", "there", *args, env=self.env | (env or {}), **options)

    def end(self):
        self.process.terminate()
        self.process.wait(LIMIT)
        self.log.close()


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
            sys.stderr.write(open(ssh.file("log")).read())
            raise
        finally:
            ssh.end()
