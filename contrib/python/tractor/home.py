# SPDX-License-Identifier: Apache-2.0
"""Where this program is in a tree, and its line to the supervisor.

An actor is at home at its own path, and its channel is the line. Any other program becomes the root of a tree when it first
asks for something: of a supervisor that runs (the one named in $TRACTOR_SOCKET, the user's, the system's), or of a private one
that ends with it. There is one Home a loop, shared by all who use it and left by the last of them.

The supervisor tells here how children of nurseries ended; each end is asked for by nobody, so a Child waits for it from before
its start on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import sys
import weakref
from typing import Any, AsyncIterator, Dict, Optional, Sequence, TypeVar

from . import errors, locate
from ._socket import only_fd
from .aio_connection import Connection, Portal, control
from .daemon import Daemon
from .dialog import Call
from .events import Closed, Event, PeerExited, Tell

T = TypeVar("T")
NAME_TRIES = 64


class Child:
    """An actor of a nursery of ours, from before its start to after its end."""

    def __init__(self, path: str):
        self.path = path
        self.ended: "asyncio.Future[Optional[Dict[str, Any]]]" = asyncio.get_running_loop().create_future()
        """The params of `$/child_exited`; None when it was closed with its nursery."""
        self.lost = False
        self.kept = True
        """By the supervisor after its end; not when all of the nursery goes."""

    def end(self, params: Optional[Dict[str, Any]], lost: bool = False) -> None:
        if not self.ended.done():
            self.lost = lost
            self.ended.set_result(params)

    def error(self) -> Optional[errors.TractorError]:
        """What its end means to its owner."""
        params = self.ended.result()
        if params is None:
            return errors.ConnectionLost(f"{self.path}: the supervisor has gone", {"actor": self.path}) if self.lost else None
        if isinstance(params.get("error"), dict):
            return errors.from_object(params["error"])
        exit = errors.Exit.from_object(params.get("exit"))
        if exit is None or exit.cause == "stop" or exit.cause == "exit" and exit.code == 0:
            return None
        return errors.died(self.path, params.get("exit"), params.get("backtrace"))


class Home:
    """This program's place in a tree."""

    def __init__(self, control: Connection, path: str, daemon: Optional[Daemon] = None):
        self.control = control
        self.path = path
        """New nurseries go below it."""
        self.daemon = daemon
        self.users = 0
        self.children: Dict[str, Child] = {}
        self._nurseries = 0
        control.listeners.append(self._on_event)

    def new_name(self) -> str:
        """For a nursery that has none."""
        self._nurseries += 1
        return f"n{self._nurseries}"

    def portal(self, call: Call, path: str, id: Optional[str] = None, pid: Optional[int] = None) -> Portal:
        """A portal over the descriptor that the supervisor handed out as the call's result."""
        return HomePortal(self, socket.socket(fileno=only_fd(call)), path, id=id, pid=pid, ends=call.ends)

    def _on_event(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Tell) and event.method == "$/child_exited" and isinstance(event.params, dict):
            child = self.children.pop(str(event.params.get("path")), None)
            if child:
                child.end(event.params)
                # What is left of it at the supervisor goes, so that its name is free.
                if child.kept and not connection.machine.closed:
                    connection.machine.call("tree.unload", {"path": child.path})
                    connection.flush_soon()
        elif isinstance(event, Closed):
            for child in self.children.values():
                child.end(None, lost=True)
            self.children.clear()


class HomePortal(Portal):
    """One that keeps its program's line to the supervisor, which tells how the other end ended."""

    def __init__(self, home: Home, sock: socket.socket, path: str, *, id: Optional[str], pid: Optional[int],
                 ends: Sequence[PeerExited]):
        self._home: Optional[Home] = home
        home.users += 1
        super().__init__(sock, path, beside=home.control, id=id, pid=pid, ends=ends)

    async def cancel_actor(self, reason: Optional[str] = None, *, grace: Optional[float] = None) -> Optional[errors.Exit]:
        """As of a Portal; a child of our own has left its place when this returns."""
        exit = await super().cancel_actor(reason, grace=grace)
        child = self._home and self._home.children.get(self.path)
        if child:
            await asyncio.shield(child.ended)
        return exit

    def _finish(self) -> None:
        super()._finish()
        home, self._home = self._home, None
        if home:
            leave(home)


class _Loop:
    """What is known of a loop: its home, and who is just about to make one."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.home: Optional[Home] = None


_loops: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Loop]" = weakref.WeakKeyDictionary()


def _here() -> _Loop:
    return _loops.setdefault(asyncio.get_running_loop(), _Loop())


def settle(home: Optional[Home]) -> None:
    """An actor's home, as long as it runs."""
    _here().home = home
    if home:
        home.users += 1


async def enter(name: Optional[str] = None, *, private: bool = False, backend: Optional[str] = None) -> Home:
    """The home of this program, made if there is none. Each enter() needs its leave()."""
    here = _here()
    async with here.lock:
        if here.home and here.home.control.machine.closed:
            if here.home.users:
                raise errors.ConnectionLost("the supervisor has gone")
            here.home = None
        if not here.home:
            here.home = await _root(name, private, backend)
        here.home.users += 1
        return here.home


def leave(home: Home) -> bool:
    """Whether this was the last one: then the line is cut, and a private supervisor ends."""
    home.users -= 1
    if home.users:
        return False
    if _loops and _here().home is home:
        _here().home = None
    home.control.close()
    if home.daemon:
        home.daemon.release()
    return True


async def left(home: Home) -> None:
    """leave(), and waits until a private supervisor is gone."""
    if leave(home) and home.daemon:
        await finish(home.daemon.ended())


@contextlib.asynccontextmanager
async def open_root(name: Optional[str] = None, *, private: bool = False, backend: Optional[str] = None) -> AsyncIterator[Home]:
    """Keeps this program's place in a tree while the block runs, and chooses which: `private` starts a supervisor of its own
    even where one runs; `backend` is how that is to keep its actors."""
    home = await enter(name, private=private, backend=backend)
    try:
        yield home
    finally:
        await left(home)


async def finish(awaitable: "asyncio.Future[T] | Any") -> T:
    """Waits for the end of what must come to its end, even while this task is being cancelled."""
    task: "asyncio.Future[T]" = asyncio.ensure_future(awaitable)
    cancelled: Optional[asyncio.CancelledError] = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        if not task.cancelled():
            task.exception()  # seen
        raise cancelled
    return task.result()


async def _root(name: Optional[str], private: bool, backend: Optional[str]) -> Home:
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", name or os.path.basename(sys.argv[0] or "python"))[:50].lstrip("._-") or "python"
    path = None if private else locate.running()
    daemon = None if path else Daemon(backend)
    try:
        connection = await control(path or daemon.path)  # type: ignore[union-attr]
        try:
            base = await _open_base(connection, name if daemon else f"{name}-{os.getpid()}")
        except BaseException:
            connection.close()
            raise
    except BaseException:
        if daemon:
            await finish(daemon.ended())
        raise
    return Home(connection, base["path"], daemon)


async def _open_base(connection: Connection, name: str) -> Dict[str, Any]:
    # An earlier process of our number may still be ending under that name, and one of another PID namespace may have it now.
    n = 1
    while True:
        params = {"parent": "/", "name": f"{name}-{n}" if n > 1 else name, "strategy": "one_cancels_one"}
        try:
            return await connection.call("nursery.open", params)  # type: ignore[no-any-return]
        except errors.AlreadyExists:
            n += 1
            if n > NAME_TRIES:
                raise


# --- who else is there -------------------------------------------------------------------------------------------------

async def find(name: str) -> Optional[Dict[str, str]]:
    """The actor of that name (the last part of its path, one it registered, or a whole path) as `{path, id}`, or None."""
    async with open_root() as home:
        return await home.control.call("actor.find", {"name": name})  # type: ignore[no-any-return]


async def wait_for(name: str, *, deadline: Optional[float] = None) -> Dict[str, str]:
    """Likewise, and waits until there is one."""
    async with open_root() as home:
        return await home.control.call("actor.wait_for", {"name": name}, deadline=deadline)  # type: ignore[no-any-return]


async def connect(name: str, *, deadline: Optional[float] = None) -> Portal:
    """A portal to the actor of that name, or at that path. Waits until it is ready; raises NoSuchActor."""
    async with open_root() as home:
        found: Dict[str, Any] = {"path": name}
        if not name.startswith("/"):
            found = await home.control.call("actor.find", {"name": name}, deadline=deadline) or {}
            if not found:
                raise errors.NoSuchActor(f"no actor is called {name!r}")
        call = await home.control._call("actor.connect", {"path": found["path"]}, deadline=deadline, if_id=found.get("id"),
                                        keep_fds=True)
        return home.portal(call, found["path"], found.get("id"))


async def register(name: str) -> None:
    """One more name for this actor, until it ends or unregisters it. Raises AlreadyExists."""
    async with open_root() as home:
        await home.control.call("actor.register", {"name": name})


async def unregister(name: str) -> None:
    """Gives the name up."""
    async with open_root() as home:
        await home.control.call("actor.unregister", {"name": name})
