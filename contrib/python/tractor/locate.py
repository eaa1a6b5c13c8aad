# SPDX-License-Identifier: Apache-2.0
"""Which supervisor to talk to, when nobody says: the order of tractorctl(1)."""

from __future__ import annotations

import os
import socket
import stat
from typing import List, Optional

from .errors import NoSupervisor


def connect(path: str) -> socket.socket:
    """A connection to the socket at `path`. Raises NoSupervisor."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise NoSupervisor(f"{path}: {error.strerror or error}", {"errno": error.errno}) from error
    return sock


def _serves(path: str) -> bool:
    try:
        connect(path).close()
    except NoSupervisor:
        return False
    return True


def _runtime() -> Optional[str]:
    """Where this user's embedded supervisors publish their sockets."""
    if os.geteuid() == 0:
        return "/run/tractor"
    if os.environ.get("XDG_RUNTIME_DIR"):
        return os.path.join(os.environ["XDG_RUNTIME_DIR"], "tractor")
    path = f"/tmp/tractor-{os.geteuid()}"
    try:
        found = os.lstat(path)
    except OSError:
        return None
    # Anybody may make that name: only what is this user's alone is believed.
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
    return path if mine else None


def embedded(run: Optional[str] = None) -> List[str]:
    """The sockets of this user's embedded supervisors that serve; only those of tree `run` (or `run` = NAME-PID)."""
    runtime = _runtime()
    if runtime is None:
        return []
    folder = os.path.join(runtime, "run")
    try:
        names = sorted(n[: -len(".sock")] for n in os.listdir(folder) if n.endswith(".sock"))
    except OSError:
        return []
    if run is not None:
        names = [n for n in names if n == run or n.rpartition("-")[0] == run]
    return [path for path in (os.path.join(folder, n + ".sock") for n in names) if _serves(path)]


def _services() -> List[str]:
    own = os.environ.get("XDG_RUNTIME_DIR")
    return [*([os.path.join(own, "tractor/control.sock")] if own else []), "/run/tractor/control.sock"]


def find(run: Optional[str] = None) -> str:
    """The socket to use: $TRACTOR_SOCKET, the only embedded supervisor of this user, the user's service, the system's.

    `run` asks for the embedded supervisor of that name, whatever the environment says. Raises NoSupervisor."""
    given = os.environ.get("TRACTOR_SOCKET")
    if run is None and given:
        return given
    found = embedded(run)
    if len(found) > 1:
        raise NoSupervisor("several supervisors run: choose one of " + ", ".join(found))
    if found:
        return found[0]
    if run is not None:
        raise NoSupervisor(f"no embedded supervisor named {run} runs")
    for path in _services():
        if _serves(path):
            return path
    raise NoSupervisor("no supervisor runs: none in $TRACTOR_SOCKET, none embedded, no service at "
                       + " or ".join(_services()))


def running() -> Optional[str]:
    """A supervisor that runs for more than one program: the one named, the user's, the system's. None: there is none."""
    given = os.environ.get("TRACTOR_SOCKET")
    return given or next((path for path in _services() if _serves(path)), None)
