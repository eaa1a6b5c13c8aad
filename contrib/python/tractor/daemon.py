# SPDX-License-Identifier: Apache-2.0
"""A private tractord: a child of this program, bound to it by an owner socket. It ends its trees and itself when that socket
closes, however that comes about. Its control socket is made here and listens at once, so that nothing is waited for."""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from typing import List, Optional

from .errors import SpawnFailed

# The descriptor goes to 3, and LISTEN_PID is the number of the process itself, as sd_listen_fds(3) has it.
_START = "import os,sys;f=int(sys.argv[1]);f!=3 and os.dup2(f,3);os.set_inheritable(3,True);" \
    "os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()));os.execv(sys.argv[2],sys.argv[2:])"


def find() -> str:
    """tractord: in $TRACTOR_LIBEXECDIR; where the package installs it, beside the tractorctl in PATH or in the usual places."""
    places: List[str] = []
    ctl = shutil.which("tractorctl")
    if os.environ.get("TRACTOR_LIBEXECDIR"):
        places.append(os.environ["TRACTOR_LIBEXECDIR"])
    if ctl:
        beside = os.path.dirname(os.path.realpath(ctl))
        places += [os.path.join(beside, "../libexec/tractor"), os.path.join(beside, "../keeper")]  # as installed, as built
    for place in (*places, "/usr/local/libexec/tractor", "/usr/libexec/tractor"):
        path = os.path.join(place, "tractord")
        if os.access(path, os.X_OK):
            return path
    raise SpawnFailed("no supervisor runs, and tractord can't be found to start a private one; set TRACTOR_LIBEXECDIR to the "
                      "directory it is in")


def _settle(done: "asyncio.Future[None]") -> None:
    if not done.done():
        done.set_result(None)


class Daemon:
    """A running one; its control socket is at `path`."""

    def __init__(self, backend: Optional[str] = None):
        program = find()
        self._folder = tempfile.mkdtemp(prefix="tractor-")
        self.path = os.path.join(self._folder, "s")
        try:
            self._start(program, backend)
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise SpawnFailed(f"can't start {program}: {error.strerror}", {"errno": error.errno}) from error
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def _start(self, program: str, backend: Optional[str]) -> None:
        self._owner, theirs = socket.socketpair()
        with theirs, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(64)
            # Above 3, which the listener is to have.
            owner = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, 4)
            try:
                argv = [program, "--embedded", f"--owner-fd={owner}"]
                argv += ["--log-level=" + os.environ.get("TRACTOR_LOG_LEVEL", "crit")]
                argv += [f"--backend={backend}"] if backend else []
                start = [sys.executable, "-ISc", _START, str(listener.fileno()), *argv]
                self._process = subprocess.Popen(start, pass_fds=[owner, listener.fileno()], start_new_session=True)
            finally:
                os.close(owner)

    def release(self) -> None:
        """Lets it end, with every wait cut short."""
        self._owner.close()

    async def ended(self) -> None:
        """Waits until it, and all that it ran, is gone."""
        self.release()
        loop = asyncio.get_running_loop()
        done: "asyncio.Future[None]" = loop.create_future()
        pidfd = os.pidfd_open(self._process.pid)
        loop.add_reader(pidfd, _settle, done)
        try:
            await done
            self._process.wait()
        finally:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            shutil.rmtree(self._folder, ignore_errors=True)
