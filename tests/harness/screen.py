# SPDX-License-Identifier: Apache-2.0
"""A terminal with tractorctl on it."""

import fcntl
import os
import pty
import select
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
            os.execv(CTL, [CTL, *args])
        self.text = ""

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
