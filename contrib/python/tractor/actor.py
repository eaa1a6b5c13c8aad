# SPDX-License-Identifier: Apache-2.0
"""A program that a supervisor runs with a channel (`"channel": "fd"`, best with `"ready": "channel"`).

    from tractor.actor import Actor

    actor = Actor()

    @actor.method
    def add(a, b):
        return a + b

    @actor.dialog
    async def count(ctx, to):
        await ctx.started("here they come")
        for i in range(to):
            await ctx.next(i)
        return to

    actor.run()

Whoever gets a portal to it (a connection that the supervisor hands over) may call the methods and open the dialogs. Handlers
may be plain functions, which should be quick, or coroutines, each of which is a task of its own. A handler whose asker
cancels, or is gone, is cancelled as tasks are; the CancelledError holds a tractor.Cancelled, `error.args[0]`, with `canceller`
and `reason`. The other way round, a handler whose task somebody cancels here is Cancelled to its asker, a TimeoutError that
leaves it DeadlineExceeded, an ExceptionGroup an ErrorGroup, and anything else a RemoteError with the exception's name and the
frames of its traceback. When the supervisor cancels the actor, or is gone, all handlers are cancelled, and run() returns.

A program may be both, an actor and the root that starts it (`n.start_actor(name)`, `n.run(name, "add", [1, 2])`):
actor.run(main=main)."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
from typing import Any, Awaitable, Callable, Dict, List, Optional, Set, Union

from . import errors, home, tasks
from ._socket import close_fds, own_hello
from .aio_connection import Connection, put, take
from .core import Machine
from .dialog import NOTHING, WINDOW, Served
from .events import CancelActor, Closed, Event, PeerExited, Tell
from .handlers import Handler, Handlers

# Left for handlers that are cancelled, unless the supervisor says otherwise.
GRACE = 3.0
SERVES = "tractor.serve"
Main = Callable[[], Awaitable[Any]]
Peer = Dict[str, Any]


class Context:
    """A dialog as its handler sees it. Iterating takes the opener's items until it stops."""

    def __init__(self, connection: Connection, served: Served, peer: Peer):
        self._connection = connection
        self._served = served
        self.peer = peer
        """Who asks, as the supervisor says: path, id, uid, pid."""

    @property
    def cancelled(self) -> Optional[errors.TractorError]:
        """Who wants it ended, and why, if anybody does."""
        return self._served.cancelled

    async def started(self, value: Any = None, *, window: int = WINDOW, overrun: str = "wait") -> None:
        """Accepts the dialog; before anything else, and once."""
        self._served.start(value, window, overrun)
        self._connection.flush()

    async def next(self, value: Any) -> None:
        """Sends an item; waits while the opener has no room."""
        await put(self._connection, self._served, value)

    async def receive(self, default: Any = None) -> Any:
        """The opener's next item; `default` when it has stopped."""
        item = await take(self._connection, self._served)
        return default if item is NOTHING else item

    def stop(self) -> None:
        """No more items from us; the other direction stays open."""
        self._served.stop()
        self._connection.flush()

    @property
    def lost(self) -> int:
        """How many of the opener's items were dropped on the way so far."""
        return self._served.lost

    def __aiter__(self) -> "Context":
        return self

    async def __anext__(self) -> Any:
        item = await self.receive(NOTHING)
        if item is NOTHING:
            raise StopAsyncIteration
        return item


class Actor(Handlers):
    """Serves its methods and dialogs on every connection that the supervisor hands over."""

    def __init__(self) -> None:
        super().__init__()
        names = os.environ.get("TRACTOR_EXPOSE")
        self._exposed: Optional[Set[str]] = None if names is None else set(names.split(","))
        self.supervisor: Optional[Connection] = None
        """The channel: the supervisor's methods can be called on it while the actor runs."""
        self.cancelled: Optional[CancelActor] = None
        """Why run() returned, when the supervisor wanted it."""
        self._portals: Dict[Connection, Peer] = {}
        self._tasks: Dict[Served, "asyncio.Task[None]"] = {}
        self._tells: Set["asyncio.Task[None]"] = set()
        self._ending: Optional[asyncio.Event] = None
        self._ready: "Optional[asyncio.Future[None]]" = None  # until it is, what was asked waits
        self._main: "Optional[asyncio.Task[Any]]" = None
        self._once: Optional[str] = None  # the method of which one call is to be answered
        self.path = os.environ.get("TRACTOR_PATH")

    def dialog(self, name: Union[str, Handler, None] = None) -> Any:
        """Registers a coroutine function that serves a dialog; its first argument is the Context."""
        return self._register(self._dialogs, name)

    def names(self) -> List[str]:
        """What is served: of what is registered what the tree exposes, all if it does not say."""
        return [name for name in super().names() if self._exposed is None or name in self._exposed]

    def bind(self, method: str, params: Any, *before: Any, dialog: bool = False) -> Callable[[], Any]:
        if self._exposed is not None and method not in self._exposed:
            raise errors.MethodNotFound(f"no method {method!r} is exposed", {"type": "MethodNotFound"})
        return super().bind(method, params, *before, dialog=dialog)

    def run(self, start: Optional[Callable[[], Awaitable[Any]]] = None, *, main: Optional[Main] = None) -> Any:
        """Serves until the supervisor wants the actor ended, or is gone. `start` is awaited before it reports ready.

        `main` is what the program is for beside that: the actor ends with it, and a result that is not None is told to the
        nursery that the actor is in. Started by hand, without a supervisor's channel, the program is `main` alone, and its result
        is returned. Started as an entry (Nursery.run(), tractor_run_actor(3)) it does what that says, in the place of `main`."""
        if main and "TRACTOR_CHANNEL_FD" not in os.environ:
            return asyncio.run(_outcome(main))
        asyncio.run(self.serve(start, main))
        return None

    async def serve(self, start: Optional[Callable[[], Awaitable[Any]]] = None, main: Optional[Main] = None) -> None:
        """run(), in a loop that runs already."""
        self._ending = asyncio.Event()
        self._ready = asyncio.get_running_loop().create_future()
        channel = self.supervisor = Connection(adopt(), Machine(connector=True, hello=own_hello(), channel=True, trusted=True))
        channel.listeners.append(self._on_channel)
        home.settle(home.Home(channel, self.path or "/"))
        watchdog: Optional["asyncio.Task[None]"] = None
        try:
            await channel.hello()
            if start:
                await start()
            await channel.tell("$/ready")
            self._ready.set_result(None)
            if os.environ.get("WATCHDOG_USEC", "").isdigit():
                watchdog = asyncio.ensure_future(self._watchdog(int(os.environ["WATCHDOG_USEC"]) / 1e6 / 2))
            self._begin(main)
            await self._ending.wait()
        finally:
            if watchdog:
                watchdog.cancel()
            await self._end()
            home.settle(None)
        if self._main and not self._main.cancelled() and self._main.done() and self._main.exception():
            raise self._main.exception()  # type: ignore[misc]

    async def status(self, text: str) -> None:
        """Tells in a few words what it does; tractorctl shows it."""
        await self._channel().tell("$/status", {"text": text})

    async def watchdog(self) -> None:
        """A sign of life, for actors with `watchdog_ms`. run() gives it by itself, which shows that the loop turns."""
        await self._channel().tell("$/watchdog")

    async def result(self, value: Any) -> None:
        """The result of a one-shot actor, before it ends. Raises LimitExceeded for one that does not fit."""
        try:
            await self._channel().tell("$/result", {"value": value})
        except ValueError as error:
            raise errors.LimitExceeded(f"a result that can't be told: {error}") from None

    # --- what it is for -------------------------------------------------------------------------------------------

    def _begin(self, main: Optional[Main]) -> None:
        entry, args = os.environ.get("TRACTOR_ENTRY"), os.environ.get("TRACTOR_ARGS")
        if entry and entry != SERVES and args is None:
            self._once = entry
        elif entry and entry != SERVES:
            main = self._entry(entry, args or "null")
        if main and not entry or main and args is not None and not self._once:
            self._main = asyncio.get_running_loop().create_task(self._run_main(main), name=entry or "main")
            self._main.add_done_callback(self._main_ended)

    def _main_ended(self, _: Any) -> None:
        if self._ending:
            self._ending.set()

    def _entry(self, entry: str, args: str) -> Main:
        async def run() -> Any:
            outcome = Handlers.bind(self, entry, json.loads(args) or [])()
            return await outcome if inspect.isawaitable(outcome) else outcome

        return run

    async def _run_main(self, main: Main) -> None:
        try:
            value = await main()
            if value is not None or "TRACTOR_ARGS" in os.environ:
                await self.result(value)
        except Exception as error:
            await self._tell_error(errors.relayed(errors.from_exception(error), self.path))
            raise
        except BaseExceptionGroup as error:
            await self._tell_error(errors.relayed(errors.from_exception(error), self.path))
            raise

    async def _tell_error(self, error: errors.TractorError) -> None:
        try:
            await self._channel().tell("$/error", error.to_object())
        except ValueError as long:  # for a line of the channel
            await self._channel().tell("$/error", errors.LimitExceeded(f"an error too long to tell: {long}").to_object())
        except errors.ConnectionLost:
            pass

    def _channel(self) -> Connection:
        if self.supervisor is None:
            raise errors.ConnectionLost("the actor does not run")
        return self.supervisor

    async def _watchdog(self, interval: float) -> None:
        while True:
            await self.watchdog()
            await asyncio.sleep(interval)

    # --- what comes -----------------------------------------------------------------------------------------------

    def _on_channel(self, channel: Connection, event: Event) -> None:
        assert self._ending is not None
        if isinstance(event, Tell) and event.method == "$/accept":
            self._accept(event)
        elif isinstance(event, PeerExited):
            for connection, peer in list(self._portals.items()):
                if event.id is not None and peer.get("id") == event.id:
                    connection.ended(event.exit, event.backtrace)
        elif isinstance(event, CancelActor):
            self.cancelled = event
            self._ending.set()
        elif isinstance(event, Closed):
            self._ending.set()
        else:
            self._on_event(channel, event)

    def _accept(self, tell: Tell) -> None:
        params = tell.params if isinstance(tell.params, dict) else {}
        peer, last_id = params.get("peer"), params.get("last_id", 0)
        if len(tell.fds) != 1 or not isinstance(peer, dict) or not isinstance(last_id, int):
            close_fds(tell.fds)
            return
        sock = socket.socket(fileno=tell.fds[0])
        if self._ending and self._ending.is_set():
            sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            return
        hello = params.get("hello")
        machine = Machine(connector=False, hello=own_hello(), peer=peer.get("path"), last_id=last_id,
                          peer_hello=hello if isinstance(hello, dict) else None)
        # The supervisor may hold an attached connection, too: closing alone would not end it.
        connection = Connection(sock, machine, shut=True)
        self._portals[connection] = peer
        connection.listeners.append(self._on_event)

    def _on_event(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Served):
            self._on_served(connection, event)
        elif isinstance(event, Tell):
            self._on_tell(connection, event)
        elif isinstance(event, Closed):
            self._portals.pop(connection, None)

    def _on_served(self, connection: Connection, served: Served) -> None:
        task = self._tasks.get(served)
        if task is not None:
            if served.cancelled:
                task.cancel(served.cancelled)
        elif not served.done and not served.started:
            task = asyncio.get_running_loop().create_task(self._serve(connection, served), name=served.method)
            self._tasks[served] = task
            # By callback: a task that is cancelled before its first step never enters its function.
            task.add_done_callback(lambda done: self._served(connection, served, done))
            if served.cancelled:  # in one piece with its request
                task.cancel(served.cancelled)

    def _on_tell(self, connection: Connection, tell: Tell) -> None:
        close_fds(tell.fds)
        if tell.method.startswith("$/"):
            return
        task = asyncio.ensure_future(self._take_tell(tell))
        self._tells.add(task)
        task.add_done_callback(lambda done: self._told(connection, tell, done))

    async def _take_tell(self, tell: Tell) -> None:
        try:
            outcome = self.bind(tell.method, tell.params)()
            if inspect.isawaitable(outcome):
                await outcome
        except Exception:  # nobody asked, nobody is told
            pass

    def _told(self, connection: Connection, tell: Tell, task: "asyncio.Task[None]") -> None:
        self._tells.discard(task)
        tell.taken()
        connection.flush()

    async def _serve(self, connection: Connection, served: Served) -> None:
        if self._ready and not self._ready.done():
            await asyncio.shield(self._ready)
        try:
            handler = self._handler(connection, served)
        except errors.TractorError as error:
            served.fail(error)
            return
        try:
            outcome = handler()
            if inspect.isawaitable(outcome):
                outcome = await outcome
            if not served.done:
                served.respond(outcome)
        except (Exception, BaseExceptionGroup) as error:  # of the handler's: its asker is told
            served.fail(errors.relayed(errors.from_exception(error), self.path))

    def _served(self, connection: Connection, served: Served, task: "asyncio.Task[None]") -> None:
        del self._tasks[served]
        close_fds(served.fds)
        if task.cancelled():
            served.fail(served.cancelled or self._own_cancel(task))
        if served.method == self._once and self._ending and not served.method.startswith("$/"):
            self._ending.set()
        connection.flush()

    def _own_cancel(self, task: "asyncio.Task[None]") -> errors.TractorError:
        if self._ending is None or self._ending.is_set():
            return errors.ActorStopped("the actor is stopping")
        data = {"type": "Cancelled", "canceller": self.path, "actor": self.path}
        return errors.Cancelled("its handler was cancelled", {k: v for k, v in data.items() if v is not None})

    def _handler(self, connection: Connection, served: Served) -> Callable[[], Any]:
        if served.method == "$/methods":
            return self.names
        if served.method == "$/tasks":
            return tasks.describe
        if served.dialog:
            context = Context(connection, served, self._portals.get(connection, {}))
            return self.bind(served.method, served.params, context, dialog=True)
        return self.bind(served.method, served.params)

    # --- the end --------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        why = self.cancelled
        for served, task in list(self._tasks.items()):
            if why:
                served.cancel(why.canceller, why.reason)
            task.cancel(served.cancelled)
        if self._main and not self._main.done():
            self._main.cancel(why and why.reason)
        busy = [*self._tasks.values(), *self._tells, *([self._main] if self._main else [])]
        if busy:
            await asyncio.wait(busy, timeout=GRACE if why is None or why.grace_ms is None else why.grace_ms / 1000)
        for connection in list(self._portals):
            await connection.drain()
            connection.close()
        if self.supervisor:
            await self.supervisor.drain()
            self.supervisor.listeners.clear()
            self.supervisor.close()
            self.supervisor = None


async def _outcome(main: Main) -> Any:
    return await main()


def adopt() -> socket.socket:
    """The channel that this process was started with; it is not inherited further. Raises ConnectionLost without one."""
    number = os.environ.pop("TRACTOR_CHANNEL_FD", "")
    if not number.isdigit():
        raise errors.ConnectionLost("TRACTOR_CHANNEL_FD is not set: not started with a channel")
    try:
        sock = socket.socket(fileno=int(number))
    except OSError as error:
        raise errors.from_errno(error, f"TRACTOR_CHANNEL_FD={number}") from error
    sock.set_inheritable(False)
    return sock
