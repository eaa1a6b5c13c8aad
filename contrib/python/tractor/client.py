# SPDX-License-Identifier: Apache-2.0
"""The blocking face: Client, Portal, Stream.

One thread at a time may use a connection: whoever waits on it moves everything on it. A thread of its own takes a client of its
own."""

from __future__ import annotations

import select
import socket
import time
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence, Type, TypeVar, Union

from . import errors, locate
from ._socket import MachineSocket, close_fds, dup_fds, own_hello
from .core import Machine
from .dialog import NOTHING, WINDOW, Call
from .events import Event, PeerExited

Params = Union[Dict[str, Any], Sequence[Any], None]
Self = TypeVar("Self", bound="Connection")
HELLO_TIME = 10.0


class Connection:
    """A connection that asks: the supervisor's, or a portal's."""

    def __init__(self, sock: socket.socket, machine: Machine, beside: Optional["Connection"] = None):
        self._io = MachineSocket(sock, machine)
        self._machine = machine
        # The connection on which the supervisor tells how the other end of this one ended.
        self._beside = beside
        self._listeners: List[Callable[[Event], None]] = []

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def fileno(self) -> int:
        """The socket, for select()."""
        return self._io.sock.fileno()

    def close(self) -> None:
        """Ends the connection, when what was told has left (at most a second); what is open on it ends with ConnectionLost."""
        self._drain(time.monotonic() + 1)
        self._machine.waits_for_exit = False
        self._machine.eof(errors.ConnectionLost("closed"))
        self._io.discard()
        self._io.close()

    def call(self, method: str, params: Params = None, *, deadline: Optional[float] = None, if_id: Optional[str] = None,
             fds: Sequence[int] = ()) -> Any:
        """Asks and waits for the result. `deadline` is in seconds, from now."""
        return self._call(method, params, deadline=deadline, if_id=if_id, fds=fds).result

    def call_fds(self, method: str, params: Params = None, *, deadline: Optional[float] = None,
                 fds: Sequence[int] = ()) -> "tuple[Any, List[int]]":
        """Asks for a result that comes with descriptors; they are the caller's to close."""
        call = self._call(method, params, deadline=deadline, keep_fds=True, fds=fds)
        return call.result, call.fds

    def tell(self, method: str, params: Params = None) -> None:
        """Sends a notification; waits only while the other side takes no more."""
        machine = self._live()
        while not machine.tell(method, params):
            self._pump()
        self._flush()

    def open(self, method: str, params: Params = None, *, window: int = WINDOW, overrun: str = "wait",
             deadline: Optional[float] = None) -> "Stream":
        """Opens a dialog and waits until it has started.

        `window` and `overrun` (wait, error, drop_oldest) are for what comes to us: how much may be under way, and what is
        to become of more."""
        call = self._live().open(method, params, window=window, overrun=overrun, deadline=deadline)
        with _Cancelling(self, call):
            self._wait(lambda: call.done or call.started)
        if call.error and not call.started:  # what ended it after that is told after its items
            raise call.error
        return Stream(self, call)

    def _call(self, method: str, params: Params, deadline: Optional[float] = None, key: Optional[str] = None,
              if_id: Optional[str] = None, keep_fds: bool = False, fds: Sequence[int] = ()) -> Call:
        machine = self._live()
        call = machine.call(method, params, deadline=deadline, key=key, if_id=if_id, fds=dup_fds(fds))
        with _Cancelling(self, call):
            self._wait(lambda: call.done)
        if call.error:
            raise call.error
        if not keep_fds:
            close_fds(call.fds)
        return call

    def _live(self) -> Machine:
        if self._machine.closed:
            raise self._machine.closed
        return self._machine

    def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            self._pump()

    def _flush(self) -> None:
        """Sends what goes without waiting for the other side to read; the rest goes with the next wait."""
        self._dispatch(self._io.writable())

    def _drain(self, until: float) -> None:
        self._flush()
        poll = select.poll()
        if self._machine.output:
            poll.register(self._io.sock, select.POLLOUT)
        while self._machine.output and poll.poll(max(0.0, until - time.monotonic()) * 1000):
            self._flush()

    def _pump(self, until: Optional[float] = None) -> None:
        """Waits for something to happen and does what is due."""
        machine, io = self._machine, self._io
        self._flush()
        if machine.closed:
            raise machine.closed
        limits = [t for t in (machine.timeout(), until) if t is not None]
        wait = max(0.0, min(limits) - time.monotonic()) * 1000 if limits else None
        poll = select.poll()
        # After an EOF a socket is readable for ever; then only the time, or word from beside, is waited for.
        at_end = machine.timeout() is not None and machine.at_eof
        if not at_end:
            poll.register(io.sock, select.POLLIN | (select.POLLOUT if machine.output else 0))
        beside = self._beside if self._beside and not self._beside._machine.closed else None
        if beside:
            poll.register(beside._io.sock, select.POLLIN)
        ready = dict(poll.poll(None if wait is None else int(wait + 0.999)))
        if beside and ready.get(beside._io.sock.fileno()):
            beside._read()
        if not at_end and ready.get(io.sock.fileno(), 0) & ~select.POLLOUT:
            self._read()
        self._dispatch(machine.tick())
        self._flush()

    def _read(self) -> None:
        try:
            self._dispatch(self._io.readable())
        except BlockingIOError:
            pass

    def _dispatch(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, PeerExited):
                for listener in list(self._listeners):
                    listener(event)


class _Cancelling:
    """Whatever interrupts the waiting for a call (a KeyboardInterrupt, say) cancels it."""

    def __init__(self, connection: Connection, call: Call):
        self.connection, self.call = connection, call

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.call.drop("interrupted")
            self.connection._flush()


class Stream:
    """A dialog we opened. Iterating takes the other side's items until it stops; leaving `with` cancels what still runs.

    `value` is what the other side said when it started."""

    def __init__(self, connection: Connection, call: Call):
        self._connection = connection
        self._call = call
        self.value: Any = call.value

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        item = self.receive(default=NOTHING)
        if item is NOTHING:
            raise StopIteration
        return item

    @property
    def lost(self) -> int:
        """How many items were dropped on the way so far (overrun drop_oldest)."""
        return self._call.lost

    def receive(self, timeout: Optional[float] = None, default: Any = None) -> Any:
        """The next item; `default` at the end of the stream. Raises TimeoutError, or the error that ended the dialog."""
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            item = self._call.take()
            if item is not NOTHING:
                return item
            if self._call.ended:
                if self._call.error:
                    raise self._call.error
                return default
            if until is not None and time.monotonic() >= until:
                raise TimeoutError(f"no item within {timeout} s")
            self._connection._pump(until)

    def send(self, value: Any) -> None:
        """Sends an item; waits while the other side has no room."""
        while not self._call.send(value):
            self._connection._pump()
        self._connection._flush()

    def try_send(self, value: Any) -> bool:
        """Sends an item if there is room now."""
        sent = self._call.send(value)
        self._connection._flush()
        return sent

    def stop(self) -> None:
        """No more items from us; the other direction stays open."""
        self._call.stop()
        self._connection._flush()

    def result(self) -> Any:
        """Waits for the end and returns its result, or raises its error. Items not taken are dropped."""
        while not self._call.done:
            while self._call.take() is not NOTHING:
                pass
            self._connection._pump()
        if self._call.error:
            raise self._call.error
        return self._call.result

    def cancel(self, reason: Optional[str] = None) -> None:
        """Asks the other side to end it; result() says what came of it."""
        self._call.cancel(reason)
        self._connection._flush()

    def close(self) -> None:
        """Cancels what still runs, and waits (at most three seconds) for its end. Raises nothing of it."""
        try:
            self._call.cancel()
            while not self._call.done:
                while self._call.take() is not NOTHING:
                    pass
                self._connection._pump()
        except errors.ConnectionLost:
            pass
        close_fds(self._call.fds)
        self._call.fds = []


class Portal(Connection):
    """A connection to an actor: its methods are called, its dialogs opened."""

    def __init__(self, sock: socket.socket, path: str, beside: Optional[Connection] = None, *,
                 ends: Sequence[PeerExited] = ()):
        machine = Machine(connector=True, hello=own_hello(), peer=path, waits_for_exit=bool(beside))
        super().__init__(sock, machine, beside)
        self.path = path
        if beside:
            beside._listeners.append(self._peer_exited)
        for end in ends:  # told before there was a portal to tell it to
            self._peer_exited(end)

    def methods(self) -> Any:
        """What the actor exposes."""
        return self.call("$/methods")

    def close(self) -> None:
        if self._beside and self._peer_exited in self._beside._listeners:
            self._beside._listeners.remove(self._peer_exited)
        super().close()

    def _peer_exited(self, event: Event) -> None:
        if isinstance(event, PeerExited) and event.path == self.path:
            self._dispatch(self._io.last_words())
            self._machine.peer_exited(event.exit, event.backtrace)


def control(path: str, deadline: float = HELLO_TIME) -> Connection:
    """A connection to the supervisor at `path`, hello said on both sides."""
    return _greeted(Connection(locate.connect(path), Machine(connector=True, hello=own_hello(), trusted=True)), path, deadline)


def _greeted(connection: Self, path: str, deadline: float = HELLO_TIME) -> Self:
    until = time.monotonic() + deadline
    try:
        while connection._machine.peer_hello is None:
            if time.monotonic() >= until:
                raise errors.ConnectionLost(f"{path}: no hello within {deadline:.0f} s")
            connection._pump(until)
    except BaseException:
        connection.close()
        raise
    return connection


def attach(path: str, actor: str, deadline: Optional[float] = None) -> Portal:
    """A Portal over a connection of its own to the supervisor at `path`, which hands it over to the actor.

    It is one from the start: what the actor says may come in one piece with the supervisor's answer."""
    portal = _greeted(Portal(locate.connect(path), actor), path)
    try:
        portal.call("actor.attach", {"path": actor}, deadline=deadline)
    except BaseException:
        portal.close()
        raise
    return portal
