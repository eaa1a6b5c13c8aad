# SPDX-License-Identifier: Apache-2.0
"""A nursery: an asyncio.TaskGroup that owns processes as well.

    async with tractor.open_nursery() as n:
        portal = await n.start_actor("adder", ["python3", "adder.py"])
        print(await portal.call("add", [1, 2]))
        total = n.run("sum", "add", [3, 4])      # this program's own method, in a process of its own
        print(await total)
        await portal.cancel_actor()

Each actor has a task here that waits for its end; so the block is left when all are gone, a failure of one cancels the
others, and everything that failed comes out as an ExceptionGroup: an actor that died as ActorDied, one that said what went
wrong as that. The supervisor has a node for the nursery, which it ends with all below it when this program does."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
from types import TracebackType
from typing import Any, Coroutine, Dict, Generator, List, Optional, Sequence, Tuple, Type, Union

from . import errors, home, tasks
from .aio_connection import Connection, Portal, reason_of
from .client import Params
from .dialog import Call
from .home import Child, Home
from .trees import given, milliseconds

STRATEGIES = ("one_cancels_all", "one_cancels_one", "one_for_one", "one_for_all", "rest_for_one")
SERVES = "tractor.serve"
Kind = Optional[Type[BaseException]]
Trace = Optional[TracebackType]
Work = Union[Coroutine[Any, Any, Any], Generator[Any, None, Any]]  # a TaskGroup of 3.11 says so
_inner: "contextvars.ContextVar[Optional[Nursery]]" = contextvars.ContextVar("tractor_nursery", default=None)


def open_nursery(name: Optional[str] = None, *, strategy: str = "one_cancels_all", limits: Optional[Dict[str, Any]] = None,
                 **keys: Any) -> "Nursery":
    """A nursery, for `async with`. Where this program is no actor and no supervisor runs it brings one of its own.

    `strategy`: one_cancels_all, what a TaskGroup does; one_cancels_one, where a failure is told at the end and leaves the others
    alone; or one that restarts (one_for_one, one_for_all, rest_for_one), which is the supervisor's business. `limits` are for all
    in it together; `keys` are more of a supervisor's keys in a tree file, such as `limits_optional` or `log_level`."""
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {', '.join(STRATEGIES)}")
    return Nursery(name, strategy, limits, keys)


class Nursery(asyncio.TaskGroup):
    """See open_nursery()."""

    def __init__(self, name: Optional[str], strategy: str, limits: Optional[Dict[str, Any]], keys: Dict[str, Any]):
        super().__init__()
        self.path = ""
        """Of the nursery, which that of each actor in it begins with."""
        self._name, self._strategy = name, strategy
        self._params = given(limits=limits, **keys)
        self._home: Optional[Home] = None
        self._children: List[Child] = []
        self._failures: List[BaseException] = []
        self._closing: "Optional[asyncio.Task[None]]" = None
        self._owner: "Optional[asyncio.Task[Any]]" = None
        self._token: "Optional[contextvars.Token[Optional[Nursery]]]" = None
        self._outer: Optional[Nursery] = None
        self._cancelled = False

    async def __aenter__(self) -> "Nursery":
        self._home = await home.enter()
        try:
            await self._open(self._home)
            await super().__aenter__()
        except BaseException:
            await home.left(self._home)
            raise
        self._owner = asyncio.current_task()
        self._outer = _inner.get()
        self._token = _inner.set(self)
        return self

    async def __aexit__(self, kind: Kind, error: Optional[BaseException], trace: Trace) -> bool:  # type: ignore[override]
        assert self._home and self._token and self._owner
        _inner.reset(self._token)
        failed: List[BaseException] = []
        other: Optional[BaseException] = None
        for step in (self._leave(kind, error, trace), home.finish(self._close()), home.left(self._home)):
            try:
                await step
            except BaseExceptionGroup as group:
                failed += group.exceptions
            except BaseException as problem:
                other = problem
        if self._cancelled and not self._owner.uncancel() and isinstance(other, asyncio.CancelledError):
            other = None  # by cancel(), and by nobody else
        failed += self._failures
        if failed:
            raise BaseExceptionGroup(f"{len(failed)} failed in {self.path}", failed)
        if other:
            raise other
        return kind is not None

    async def _leave(self, kind: Kind, error: Optional[BaseException], trace: Trace) -> None:
        assert self._owner
        requested, count = self._parent_cancel_requested, self._owner.cancelling()  # type: ignore[attr-defined]
        try:
            await super().__aexit__(kind, error, trace)
        finally:
            # A group whose first failure comes while it is being left cancels its owner and never takes that back (3.11, 3.12).
            if self._parent_cancel_requested and not requested and self._owner.cancelling() > count:  # type: ignore[attr-defined]
                self._owner.uncancel()

    # --- what goes in ---------------------------------------------------------------------------------------------

    async def start_actor(self, name: str, exec: Optional[Sequence[str]] = None, *, entry: Optional[str] = None,
                          args: Any = None, deadline: Optional[float] = None, **keys: Any) -> Portal:
        """Starts an actor that serves until it is cancelled; a portal to it, on which calls wait until it is ready.

        `exec` is its program; without it is this one, started once more as an actor (see Actor.run()), which only serves, or runs
        the method `entry` with `args`. `keys` are a child's keys in a tree file; `channel` is "fd" and `ready` "channel" unless
        given, as for an actor of this package or of libtractor."""
        if entry is None and exec is None:
            entry = SERVES
        child, portal = await self._spawn(name, exec, entry, {**given(args=args), **keys}, True, deadline)
        assert portal
        self._watch(child)
        return portal

    async def start_program(self, name: str, exec: Sequence[str], **keys: Any) -> str:
        """Starts a program that is nobody to talk to; its path."""
        child, _ = await self._spawn(name, exec, None, {"channel": "none", **keys}, False, None)
        self._watch(child)
        return child.path

    def run(self, name: str, method: Optional[str] = None, params: Params = None, *,
            exec: Optional[Sequence[str]] = None, **keys: Any) -> "asyncio.Task[Any]":
        """Starts an actor for one call, and ends it: the task's result is that of the call.

        Without `exec` the method is one of this program. With `exec` and no method it is a program's own affair what it does: the
        result is what it told as such (Actor.result(), `$/result`), if anything. Await the task, or leave it to the nursery."""
        if method is None and exec is None:
            raise ValueError(f"{name}: neither a method nor a program")
        return self.create_task(self._run(name, method, params, exec, keys), name=name)

    def create_task(self, coro: Work, *, name: Optional[str] = None,
                    context: Optional[contextvars.Context] = None) -> "asyncio.Task[Any]":
        """As of a TaskGroup; where one cancels only one, a failure is told at the end."""
        work: Any = coro
        if self._strategy != "one_cancels_one":
            return self._own(super().create_task(work, name=name, context=context))
        if self._cancelled:
            coro.close()
            raise RuntimeError(f"{self.path} is being cancelled")
        task = self._own(asyncio.get_running_loop().create_task(work, name=name, context=context))
        super().create_task(self._collect(task), name=f"end of {task.get_name()}")
        return task

    def cancel(self, reason: Optional[str] = None) -> None:
        """Ends all in it, and the block that owns it: that is left without an error, unless there are others."""
        if self._cancelled or self._owner is None:
            return
        self._cancelled = True
        self._close_soon()
        # The block ends by it, and then all else in the group.
        self._owner.cancel(reason)

    # --- how ------------------------------------------------------------------------------------------------------

    async def _open(self, place: Home) -> None:
        outer = _inner.get()
        while outer and (outer._home is not place or outer._closing):
            outer = outer._outer
        restarts = not self._strategy.startswith("one_cancels_")
        # Code judges failures by itself; restarts are the supervisor's.
        params = {"parent": outer.path if outer else place.path, "name": self._name or place.new_name(),
                  "strategy": self._strategy if restarts else "one_cancels_one", **self._params}
        self.path = (await place.control.call("nursery.open", params))["path"]

    def _own(self, task: "asyncio.Task[Any]") -> "asyncio.Task[Any]":
        if self._owner:
            tasks.owners[task] = self._owner
        return task

    def _watch(self, child: Child) -> None:
        self.create_task(self._await_end(child), name=f"actor {child.path}")

    async def _await_end(self, child: Child) -> None:
        try:
            await asyncio.shield(child.ended)
        except asyncio.CancelledError:
            self._close_soon()
            raise
        self._forget(child)
        error = child.error()
        if error:
            raise error

    async def _collect(self, task: "asyncio.Task[Any]") -> None:
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await home.finish(asyncio.wait([task]))
            raise
        finally:
            if task.done() and not task.cancelled() and task.exception():
                self._failures.append(task.exception())  # type: ignore[arg-type]

    async def _run(self, name: str, method: Optional[str], params: Params, exec: Optional[Sequence[str]],
                   keys: Dict[str, Any]) -> Any:
        if method is None:
            keys = {"ready": "exec", **keys}
        child, portal = await self._spawn(name, exec, None if exec else method, keys, method is not None, None)
        try:
            if portal is None:
                await asyncio.shield(child.ended)
                return self._outcome(child)
            async with portal:
                result = await portal.call(str(method), params)
                if exec:
                    await portal.cancel_actor("its call is answered")
            await asyncio.shield(child.ended)
            return result
        except BaseException as error:
            if not child.ended.done() and not self._closing:
                reason = reason_of(error) if isinstance(error, asyncio.CancelledError) else "its call failed"
                await self._stop(child, reason)
            raise
        finally:
            self._forget(child)

    def _outcome(self, child: Child) -> Any:
        error = child.error()
        if error:
            raise error
        return (child.ended.result() or {}).get("result")

    async def _stop(self, child: Child, reason: str) -> None:
        assert self._home
        try:
            await home.finish(self._home.control.call("actor.cancel", {"path": child.path, "reason": reason}))
        except errors.TractorError:
            pass  # it was gone, or the supervisor is

    async def _spawn(self, name: str, exec: Optional[Sequence[str]], entry: Optional[str], keys: Dict[str, Any],
                     portal: bool, deadline: Optional[float]) -> Tuple[Child, Optional[Portal]]:
        place = self._home
        if place is None or self._closing or self._cancelled:
            raise errors.ActorStopped(f"{self.path or 'the nursery'} is ending: nothing starts in it")
        child = Child(f"{self.path}/{name}")
        if child.path in place.children:
            raise errors.AlreadyExists(f"{child.path} is there already", {"actor": child.path})
        place.children[child.path] = child  # its end may be told before its start
        try:
            call = await self._ask(place, self._describe(place, name, exec, entry, keys, portal), entry, deadline)
        except BaseException:
            place.children.pop(child.path, None)
            raise
        self._children.append(child)
        result = call.result
        return child, place.portal(call, child.path, result.get("id"), result.get("pid")) if portal else None

    def _describe(self, place: Home, name: str, exec: Optional[Sequence[str]], entry: Optional[str], keys: Dict[str, Any],
                  portal: bool) -> Dict[str, Any]:
        params: Dict[str, Any] = {"parent": self.path, "name": name, "channel": "fd", "cwd": os.getcwd(), **keys}
        params["grace_ms"] = milliseconds(params.pop("grace", None)) or params.get("grace_ms")
        if params["channel"] == "fd":
            params.setdefault("ready", "channel")
        if exec:
            params["exec"] = list(exec)
        else:
            params.update(entry=entry, argv0=sys.executable, argv=sys.orig_argv[1:])
        if portal:
            params["want"] = ["portal"]
        if not self._strategy.startswith("one_cancels_"):
            params.setdefault("restart", "temporary")
        if place.daemon:  # its actors speak where their root does
            if params["channel"] != "stdio":
                params.setdefault("stdout", "inherit")
            params.setdefault("stderr", "inherit")
        return given(**params)

    @staticmethod
    async def _ask(place: Home, params: Dict[str, Any], entry: Optional[str], deadline: Optional[float]) -> Call:
        control, path = place.control, f"{params['parent']}/{params['name']}"
        if control.machine.closed:
            raise control.machine.closed
        # By descriptor: the interpreter that runs here, whatever lies at its path by now.
        program = [os.open("/proc/self/exe", os.O_PATH | os.O_CLOEXEC)] if entry else []
        call = control.machine.call("actor.spawn", params, deadline=deadline, fds=program)
        try:
            await control._until(call, lambda: call.done)
        except asyncio.CancelledError:
            await home.finish(Nursery._undo(control, call, path))
            raise
        if isinstance(call.error, errors.DeadlineExceeded):
            await home.finish(Nursery._undo(control, call, path))
        if call.error:
            raise call.error
        return call

    @staticmethod
    async def _undo(control: Connection, call: Call, path: str) -> None:
        """Of a start that is not waited for any more: that it runs may have been answered already, and nobody would have it."""
        while not call.done:
            await control.changed(call)
        if call.error is None or isinstance(call.error, errors.DeadlineExceeded):
            try:
                await control.call("tree.unload", {"path": path})
            except errors.TractorError:
                pass

    def _forget(self, child: Child) -> None:
        if child.ended.done() and child in self._children:
            self._children.remove(child)

    def _close_soon(self) -> "asyncio.Task[None]":
        if self._closing is None:
            for child in self._children:
                child.kept = False
            self._closing = asyncio.get_running_loop().create_task(self._shut(), name=f"end of {self.path}")
        return self._closing

    async def _close(self) -> None:
        await self._close_soon()

    async def _shut(self) -> None:
        assert self._home
        try:
            await self._home.control.call("nursery.close", {"path": self.path})
        except errors.TractorError:
            pass  # the supervisor has gone, and all that it ran with it
        for child in self._children:
            self._home.children.pop(child.path, None)
            child.end(None)
