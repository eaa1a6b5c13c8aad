# SPDX-License-Identifier: Apache-2.0
"""A machine on a non-blocking socket: the little input and output that both faces share."""

from __future__ import annotations

import array
import os
import select
import socket
from typing import Iterable, List, Optional, Sequence, Tuple

from . import errors
from .core import Machine
from .dialog import Call
from .events import Event
from .wire import MAX_FDS_QUEUED, Chunk

# As numbers: an enum is slow to compute with.
_CTRUNC, _CLOEXEC, _NOSIGNAL = int(socket.MSG_CTRUNC), int(socket.MSG_CMSG_CLOEXEC), int(socket.MSG_NOSIGNAL)
_FDS = socket.CMSG_SPACE(MAX_FDS_QUEUED * array.array("i").itemsize)


def close_fds(fds: Iterable[int]) -> None:
    """Closes what nobody wants."""
    for fd in fds:
        try:
            os.close(fd)
        except OSError:
            pass


def only_fd(call: Call) -> int:
    """The descriptor that the result came with; the caller's to close."""
    if len(call.fds) != 1:
        close_fds(call.fds)
        raise errors.InvalidRequest(f"{call.method}: {len(call.fds)} descriptors instead of one")
    return call.fds[0]


def dup_fds(fds: Sequence[int]) -> List[int]:
    """Copies for the machine to own: the caller keeps theirs."""
    copies: List[int] = []
    try:
        for fd in fds:
            copies.append(os.dup(fd))
    except OSError:
        close_fds(copies)
        raise
    return copies


class MachineSocket:
    """`shut`: shut the connection down before closing it, since others (the supervisor) may hold it open, too."""

    def __init__(self, sock: socket.socket, machine: Machine, shut: bool = False):
        sock.setblocking(False)
        self.half_closed = False
        """The one who asked has said all, and still listens: it is to have its answers before machine.eof()."""
        self.sock = sock
        self.machine = machine
        self._shut = shut

    def readable(self) -> List[Event]:
        """Takes in what has come; raises BlockingIOError when nothing has."""
        data, truncated, error = b"", False, None
        fds: List[int] = []
        try:
            data, fds, truncated = self._recv()
        except BlockingIOError:
            raise
        except OSError as problem:
            error = errors.from_errno(problem, "the connection")
        if data:
            events = self.machine.receive(data, fds, truncated)
        elif not (error or self.machine.connector or self.machine.idle or self.hung_up()):
            self.half_closed, events = True, []
        else:
            close_fds(fds)
            events = self.machine.eof(error)
        self.discard()
        return events

    def hung_up(self) -> bool:
        """Whether the peer is gone altogether."""
        poll = select.poll()
        poll.register(self.sock, 0)
        return bool(poll.poll(0))

    def last_words(self) -> List[Event]:
        """All that the peer said before its end was told elsewhere: an answer on the way is worth more than the news."""
        events: List[Event] = []
        try:
            while not (self.machine.closed or self.machine.at_eof or self.half_closed):
                events += self.readable()
        except BlockingIOError:
            pass
        return events

    def writable(self) -> List[Event]:
        """Sends as much as goes now."""
        output = self.machine.output
        while output:
            chunk = output.get()
            assert chunk is not None
            try:
                count = self._send(chunk)
            except BlockingIOError:
                break
            except OSError:
                # The peer is gone; what it still said, or how it ended, is to be read first.
                close_fds(output.drop())
                break
            close_fds(output.sent(count))
        self.discard()
        return self.machine.events()

    def discard(self) -> None:
        """Closes the descriptors that the machine refused."""
        fds, self.machine.refuse_fds = self.machine.refuse_fds, []
        close_fds(fds)

    def close(self) -> None:
        """Closes the socket."""
        close_fds(self.machine.output.drop())
        if self._shut:
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sock.close()

    def _send(self, chunk: Chunk) -> int:
        if not chunk.fds:
            return self.sock.send(chunk.data, _NOSIGNAL)
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", chunk.fds))]
        return self.sock.sendmsg([chunk.data], control, _NOSIGNAL)

    def _recv(self) -> Tuple[bytes, List[int], bool]:
        data, control, flags, _ = self.sock.recvmsg(65536, _FDS, _CLOEXEC)
        if not control:
            return data, [], bool(flags & _CTRUNC)
        fds = array.array("i")
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
        return data, list(fds), bool(flags & _CTRUNC)


def own_hello(name: Optional[str] = None) -> dict:  # type: ignore[type-arg]
    """What this program says of itself. The path and id are those that its supervisor gave it, if any did."""
    hello = {"name": name or os.path.basename(os.environ.get("TRACTOR_PATH", "")) or "python", "pid": os.getpid()}
    for key, variable in (("path", "TRACTOR_PATH"), ("id", "TRACTOR_ACTOR_ID")):
        if os.environ.get(variable):
            hello[key] = os.environ[variable]
    return hello
