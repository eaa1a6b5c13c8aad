# SPDX-License-Identifier: Apache-2.0
"""The asyncio face: Connection, Portal, Stream.

A connection reads all the time, whoever waits or not: replies, cancels and credit never queue behind items that nobody
takes. Cancelling a task that waits for a call cancels the call."""

from __future__ import annotations

import asyncio
import select
import socket
from types import TracebackType
from typing import Any, Callable, List, Optional, Sequence, Tuple, Type, TypeVar, Union

from . import errors, locate
from ._socket import MachineSocket, close_fds, dup_fds, own_hello
from .client import HELLO_TIME, Params
from .core import Machine
from .dialog import NOTHING, WINDOW, Call, Served
from .events import CancelActor, Closed, Event, Hello, PeerExited, Tell
from .trees import given, milliseconds

Self = TypeVar("Self", bound="Connection")
SENDS_A_TURN = 32


class Connection:
    """A connection, and what comes on it: the answers to our questions here, all else to `listeners`."""

    def __init__(self, sock: socket.socket, machine: Machine, *, shut: bool = False):
        self.machine = machine
        self.listeners: List[Callable[["Connection", Event], None]] = []
        self._io = MachineSocket(sock, machine, shut)
        self._loop = asyncio.get_running_loop()
        self._waiting: List["asyncio.Future[None]"] = []
        self._timer: Optional[asyncio.TimerHandle] = None
        self._timer_due: Optional[float] = None
        self._first = False  # nothing was written yet since something came
        self._flushing = False
        self._sends = 0
        self._reading = True
        self._hangup: Optional["select.epoll"] = None
        self._writing = False
        self._open = True
        self._loop.add_reader(sock, self._readable)
        self.flush()

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        try:
            await self.drain()
        finally:
            self.close()

    def close(self) -> None:
        """Ends the connection, with what was told just before; what is open on it ends with ConnectionLost."""
        if self._open:
            self._dispatch(self._io.writable())
        self.machine.waits_for_exit = False
        self._dispatch(self.machine.eof(errors.ConnectionLost("closed")))
        self._finish()

    async def call(self, method: str, params: Params = None, *, deadline: Optional[float] = None,
                   if_id: Optional[str] = None, fds: Sequence[int] = ()) -> Any:
        """Asks and waits for the result. `deadline` is in seconds, from now."""
        return (await self._call(method, params, deadline=deadline, if_id=if_id, fds=fds)).result

    async def call_fds(self, method: str, params: Params = None, *, deadline: Optional[float] = None,
                       if_id: Optional[str] = None, fds: Sequence[int] = ()) -> Tuple[Any, List[int]]:
        """Asks for a result that comes with descriptors; they are the caller's to close."""
        call = await self._call(method, params, deadline=deadline, if_id=if_id, keep_fds=True, fds=fds)
        return call.result, call.fds

    async def tell(self, method: str, params: Params = None) -> None:
        """Sends a notification; waits only while the other side takes no more."""
        while not self.machine.tell(method, params):
            await self._wait(self._waiting)
        self.flush_soon()

    async def open(self, method: str, params: Params = None, *, window: int = WINDOW, overrun: str = "wait",
                   deadline: Optional[float] = None) -> "Stream":
        """Opens a dialog and waits until it has started; see tractor.Connection.open()."""
        call = self.machine.open(method, params, window=window, overrun=overrun, deadline=deadline)
        await self._until(call, lambda: call.done or call.started)
        if call.error and not call.started:  # what ended it after that is told after its items
            raise call.error
        return Stream(self, call)

    async def hello(self, timeout: float = HELLO_TIME) -> None:
        """Waits for the other side's hello."""
        async def wait() -> None:
            while self.machine.peer_hello is None:
                if self.machine.closed:
                    raise self.machine.closed
                await self._wait(self._waiting)

        try:
            await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            raise errors.ConnectionLost(f"no hello within {timeout:.0f} s") from None

    async def drain(self, timeout: float = 1.0) -> None:
        """Waits until all has been sent, but not for ever."""
        async def wait() -> None:
            self.flush()
            while self.machine.output and self._open:
                await self._wait(self._waiting)

        try:
            await asyncio.wait_for(wait(), timeout)
        except asyncio.TimeoutError:
            pass

    async def _call(self, method: str, params: Params, deadline: Optional[float] = None, key: Optional[str] = None,
                    if_id: Optional[str] = None, keep_fds: bool = False, fds: Sequence[int] = ()) -> Call:
        call = self.machine.call(method, params, deadline=deadline, key=key, if_id=if_id, fds=dup_fds(fds))
        await self._until(call, lambda: call.done)
        if call.error:
            raise call.error
        if not keep_fds:
            close_fds(call.fds)
        return call

    async def _until(self, call: Call, done: Callable[[], bool]) -> None:
        self.flush()
        try:
            while not done():
                await self.changed(call)
        except asyncio.CancelledError as cancelled:
            call.drop(reason_of(cancelled))
            self.flush()
            raise

    async def changed(self, conversation: Union[Call, Served]) -> None:
        """Waits until something has happened to a call or dialog."""
        await self._wait(conversation.user)

    async def _wait(self, waiting: List["asyncio.Future[None]"]) -> None:
        # A future for each: who is cancelled cancels what he waits for.
        future = self._loop.create_future()
        waiting.append(future)
        try:
            await future
        finally:
            if future in waiting:
                waiting.remove(future)

    @staticmethod
    def _wake(waiting: List["asyncio.Future[None]"]) -> None:
        while waiting:
            future = waiting.pop()
            if not future.done():
                future.set_result(None)

    def ended(self, exit: Any, backtrace: Any = None) -> None:
        """The process at the other end has ended, as was told elsewhere."""
        if self._open:
            self._dispatch(self._io.last_words())
        self._dispatch(self.machine.peer_exited(exit, backtrace))
        self.flush()

    def flush(self) -> None:
        """Sends what goes now, and has the rest sent when there is room; to be called after each use of `machine`."""
        if not self._open:
            self._io.discard()
            return
        self._dispatch(self._io.writable())
        machine = self.machine
        if self._io.half_closed and machine.idle:
            self._dispatch(machine.eof())
        if machine.closed and not machine.output:
            self._finish()
            return
        if bool(machine.output) != self._writing:
            self._writing = not self._writing
            if self._writing:
                self._loop.add_writer(self._io.sock, self.flush)
            else:
                self._loop.remove_writer(self._io.sock)
        self._set_timer()

    def flush_soon(self) -> None:
        """flush(), of all that is said in this turn of the loop at once; but the first answer to what came goes without delay."""
        if self._first:
            self._first = False
            self.flush()
        elif not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush_now)

    def turn_is_over(self) -> bool:
        """Whether so much was sent without waiting that others are to have their turn."""
        self._sends += 1
        return self._sends % SENDS_A_TURN == 0

    def _flush_now(self) -> None:
        self._flushing = False
        self.flush()

    def _set_timer(self) -> None:
        when = self.machine.timeout()
        if when == self._timer_due:
            return
        self._timer_due = when
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(when + self._loop.time() - self.machine.now(), self._tick) if when else None

    def _tick(self) -> None:
        self._timer_due = None
        self._dispatch(self.machine.tick())
        self.flush()

    def _readable(self) -> None:
        try:
            self._dispatch(self._io.readable())
        except BlockingIOError:
            return
        self._first = True
        if (self.machine.at_eof or self._io.half_closed) and self._reading and self._open:
            self._reading = False
            self._loop.remove_reader(self._io.sock)
            self._await_hangup()
        self.flush()

    def _await_hangup(self) -> None:
        """Of one who asked and still listens: it is readable for ever, so its end is seen by a poll for nothing but that."""
        if self._io.half_closed:
            self._hangup = select.epoll()
            self._hangup.register(self._io.sock, 0)
            self._loop.add_reader(self._hangup, self._hung_up)

    def _hung_up(self) -> None:
        self._dispatch(self.machine.eof())
        self.flush()

    def _dispatch(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, (Call, Served)):
                self._wake(event.user)
                # What a dialog is told of its own is not news for those who serve new ones.
                if isinstance(event, Call) or event.started and not event.done and event.cancelled is None:
                    continue
            if isinstance(event, (Served, Tell, PeerExited, CancelActor, Closed, Hello)):
                self._tell_listeners(event)
        if self._waiting:
            self._wake(self._waiting)

    def _tell_listeners(self, event: Event) -> None:
        for listener in list(self.listeners):
            listener(self, event)
        if self.listeners:
            return
        if isinstance(event, Served) and not event.done and not event.started:
            close_fds(event.fds)
            event.fail(errors.MethodNotFound(f"no method {event.method!r}: nothing is served here"))
        elif isinstance(event, Tell):
            close_fds(event.fds)
            event.taken()

    def _finish(self) -> None:
        if not self._open:
            return
        self._open = False
        if self._timer:
            self._timer.cancel()
        self._loop.remove_reader(self._io.sock)
        self._loop.remove_writer(self._io.sock)
        if self._hangup:
            self._loop.remove_reader(self._hangup)
            self._hangup.close()
        self._io.discard()
        self._io.close()


class Stream:
    """A dialog we opened; see tractor.Stream."""

    def __init__(self, connection: Connection, call: Call):
        self._connection = connection
        self._call = call
        self.value: Any = call.value

    async def __aenter__(self) -> "Stream":
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                        trace: Optional[TracebackType]) -> None:
        await self.close()

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> Any:
        item = await self.receive(default=NOTHING)
        if item is NOTHING:
            raise StopAsyncIteration
        return item

    @property
    def lost(self) -> int:
        """How many items were dropped on the way so far (overrun drop_oldest)."""
        return self._call.lost

    async def receive(self, default: Any = None) -> Any:
        """The next item; `default` at the end of the stream. Raises the error that ended the dialog."""
        item = await take(self._connection, self._call)
        if item is NOTHING and self._call.error:
            raise self._call.error
        return default if item is NOTHING else item

    async def send(self, value: Any) -> None:
        """Sends an item; waits while the other side has no room."""
        await put(self._connection, self._call, value)

    def try_send(self, value: Any) -> bool:
        """Sends an item if there is room now."""
        sent = self._call.send(value)
        self._connection.flush()
        return sent

    def stop(self) -> None:
        """No more items from us; the other direction stays open."""
        self._call.stop()
        self._connection.flush()

    async def result(self) -> Any:
        """Waits for the end and returns its result, or raises its error. Items not taken are dropped."""
        while await take(self._connection, self._call) is not NOTHING:
            pass
        while not self._call.done:
            await self._connection.changed(self._call)
        if self._call.error:
            raise self._call.error
        return self._call.result

    def cancel(self, reason: Optional[str] = None) -> None:
        """Asks the other side to end it; result() says what came of it."""
        self._call.cancel(reason)
        self._connection.flush()

    async def close(self) -> None:
        """Cancels what still runs, and waits (at most three seconds) for its end. Raises nothing of it."""
        self.cancel()
        try:
            await self.result()
        except errors.TractorError:
            pass
        finally:
            close_fds(self._call.fds)
            self._call.fds = []


def reason_of(cancelled: asyncio.CancelledError) -> str:
    """Why a task was cancelled, as far as it was said: by what it was cancelled with, a text or our own error."""
    why = cancelled.args[0] if cancelled.args else None
    if isinstance(why, errors.TractorError):
        why = why.reason
    return why[:1024] if isinstance(why, str) else "interrupted"


async def take(connection: Connection, conversation: Union[Call, Served]) -> Any:
    """The next item of a dialog; NOTHING at its end."""
    while True:
        item = conversation.take()
        if connection.machine.output:
            connection.flush_soon()
        if item is not NOTHING or conversation.ended:
            return item
        await connection.changed(conversation)


async def put(connection: Connection, conversation: Union[Call, Served], value: Any) -> None:
    """Sends an item of a dialog, when there is room."""
    try:
        while not conversation.send(value):
            await connection.changed(conversation)
    finally:
        connection.flush_soon()
    # A policy that never waits would otherwise starve all other tasks.
    if connection.turn_is_over():
        await asyncio.sleep(0)


class Portal(Connection):
    """A connection to an actor: its methods are called, its dialogs opened."""

    def __init__(self, sock: socket.socket, path: str, beside: Optional[Connection] = None, *, id: Optional[str] = None,
                 pid: Optional[int] = None, ends: Sequence[PeerExited] = ()):
        machine = Machine(connector=True, hello=own_hello(), peer=path, waits_for_exit=bool(beside))
        self.path = path
        self.id = id
        """Of the generation at the other end, where it is known."""
        self.pid = pid
        self._beside = beside
        super().__init__(sock, machine)
        if beside:
            beside.listeners.append(self._from_beside)
            for end in ends:  # told before there was a portal to tell it to
                self._from_beside(beside, end)

    async def methods(self) -> Any:
        """What the actor exposes."""
        return await self.call("$/methods")

    async def cancel_actor(self, reason: Optional[str] = None, *, grace: Optional[float] = None) -> Optional[errors.Exit]:
        """Stops the actor and all below it for good; how it ended. Only on portals that the supervisor handed out."""
        if self._beside is None:
            raise errors.InvalidRequest("the supervisor is not known to this portal")
        params = given(path=self.path, reason=reason, grace_ms=milliseconds(grace))
        result = await self._beside.call("actor.cancel", params, if_id=self.id)
        return errors.Exit.from_object(result.get("exit"))

    def _from_beside(self, _: Connection, event: Event) -> None:
        if isinstance(event, PeerExited) and event.path == self.path and self.id in (None, event.id):
            self.ended(event.exit, event.backtrace)

    def _finish(self) -> None:
        if self._beside and self._from_beside in self._beside.listeners:
            self._beside.listeners.remove(self._from_beside)
        super()._finish()


async def control(path: str) -> Connection:
    """A connection to the supervisor at `path`, hello said on both sides."""
    machine = Machine(connector=True, hello=own_hello(), trusted=True)
    connection = Connection(locate.connect(path), machine)
    try:
        await connection.hello()
    except BaseException:
        connection.close()
        raise
    return connection


async def attach(path: str, actor: str, deadline: Optional[float] = None) -> Portal:
    """A Portal over a connection of its own to the supervisor at `path`, which hands it over to the actor.

    It is one from the start: what the actor says may come in one piece with the supervisor's answer."""
    portal = Portal(locate.connect(path), actor)
    try:
        await portal.hello()
        await portal.call("actor.attach", {"path": actor}, deadline=deadline)
    except BaseException:
        portal.close()
        raise
    return portal
