# SPDX-License-Identifier: Apache-2.0
"""A terminal with tractorctl on it."""

import fcntl
import os
import pty
import resource
import select
import signal
import struct
import termios
import threading
import time

from ctl import CTL
from tractor import LIMIT


class Screen:
    """A program on a terminal of its own, and all that it has written so far."""

    def __init__(self, *args, rows=24, columns=100):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", LC_ALL="C.UTF-8")
            os.environ.pop("TRACTOR_SOCKET", None)
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            self.start([CTL, *args])
        self.text = ""

    @staticmethod
    def start(command):
        os.execv(command[0], command)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def until(self, predicate, what="it"):
        """Text that must come, or a function of all that has."""
        found = predicate if callable(predicate) else lambda text: predicate in text
        deadline = time.monotonic() + LIMIT
        while not found(self.text):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{predicate if isinstance(predicate, str) else what} was not shown: {self.text[-3000:]!r}"
            self.text += os.read(self.fd, 65536).decode(errors="replace")

    def end(self):
        def drain():
            try:
                while data := os.read(self.fd, 65536):
                    self.text += data.decode(errors="replace")
            except OSError:
                pass
        reader = threading.Thread(target=drain)
        reader.start()
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        reader.join(LIMIT)
        os.close(self.fd)
        return status


class Job(Screen):
    """The same below a shell, which takes the terminal back when its job has stopped or ended, and says so."""

    @staticmethod
    def start(command):
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        job = os.fork()
        if job == 0:
            os.setpgid(0, 0)
            os.tcsetpgrp(0, os.getpgrp())
            signal.signal(signal.SIGTTOU, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.execv(command[0], command)
        while True:
            _, status = os.waitpid(job, os.WUNTRACED)
            os.tcsetpgrp(0, os.getpgrp())
            if not os.WIFSTOPPED(status):
                os.write(1, f"[ended: {os.waitstatus_to_exitcode(status)}]\n".encode())
                os._exit(0)
            os.write(1, f"[stopped: {os.WSTOPSIG(status)}]\n".encode())
            if os.read(0, 100) == b"fg\n":
                os.tcsetpgrp(0, job)
            os.killpg(job, signal.SIGCONT)  # else it goes on in the background
