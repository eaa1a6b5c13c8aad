# SPDX-License-Identifier: Apache-2.0
"""Client: the supervisor's methods, blocking."""

from __future__ import annotations

import socket
import time
from types import TracebackType
from typing import Any, Dict, List, Optional, Sequence, Type, Union

from . import errors, locate, trees
from ._socket import close_fds, only_fd
from .client import Connection, Params, Portal, Stream, attach, control
from .dialog import WINDOW, Call
from .errors import Exit
from .trees import Node, Spawned, Tree, given


class Client:
    """A supervisor, asked over its control socket.

    Without a path it is the one that tractorctl(1) would ask. The connection is made when it is needed, and made again after
    it was lost; so long as `reconnect` seconds a request that changes something is repeated then, under the same key, so
    that it has its effect once. All others, and open streams, end with ConnectionLost."""

    def __init__(self, path: Optional[str] = None, *, run: Optional[str] = None,
                 reconnect: float = trees.RECONNECT_TIME):
        self.path = path if path is not None else locate.find(run)
        self._reconnect = reconnect
        self._connection: Optional[Connection] = None

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, if there is one."""
        if self._connection:
            self._connection.close()
            self._connection = None

    @property
    def connection(self) -> Connection:
        """The connection in use, made if there is none."""
        if self._connection and self._connection._machine.closed:
            self.close()
        if not self._connection:
            self._connection = control(self.path)
        return self._connection

    def call(self, method: str, params: Params = None, *, deadline: Optional[float] = None,
             key: Union[str, bool, None] = None, if_id: Optional[str] = None) -> Any:
        """Asks and waits for the result. With a `key` (True makes one) it is repeated when the connection is lost."""
        call = self._call(method, params, deadline, trees.new_key() if key is True else key or None, if_id)
        close_fds(call.fds)
        return call.result

    def open(self, method: str, params: Params = None, *, window: int = WINDOW, overrun: str = "wait",
             deadline: Optional[float] = None) -> Stream:
        """Opens a dialog; see Connection.open()."""
        return self.connection.open(method, params, window=window, overrun=overrun, deadline=deadline)

    def _call(self, method: str, params: Params, deadline: Optional[float] = None, key: Optional[str] = None,
              if_id: Optional[str] = None) -> Call:
        end = None if deadline is None else time.monotonic() + deadline
        try:
            return self.connection._call(method, params, deadline, key, if_id, keep_fds=True)
        except errors.ConnectionLost as lost:
            if key is None or isinstance(lost, errors.NoSupervisor):
                raise
            self._again(lost)
        left = None if end is None else max(0.001, end - time.monotonic())
        return self.connection._call(method, params, left, key, if_id, keep_fds=True)

    def _again(self, lost: errors.ConnectionLost) -> None:
        """A new connection on which a request may be repeated; raises `lost` where that can't be had."""
        until, wait = time.monotonic() + self._reconnect, 0.01
        while True:
            try:
                features = self.connection.call("supervisor.status", deadline=self._reconnect).get("features") or []
                break
            except errors.ConnectionLost:
                if time.monotonic() + wait >= until:
                    raise lost from None
                time.sleep(wait)
                wait = min(wait * 2, 0.5)
        if not trees.KEY_FEATURES & set(features):
            raise lost

    # --- the supervisor and its trees -----------------------------------------------------------------------------

    def ping(self, *, deadline: Optional[float] = None) -> None:
        """Asks for a sign of life."""
        self.call("supervisor.ping", deadline=deadline)

    def status(self) -> Dict[str, Any]:
        """The supervisor itself."""
        return self.call("supervisor.status")  # type: ignore[no-any-return]

    def tree(self, path: Optional[str] = None, *, depth: Optional[int] = None,
             fields: Optional[Sequence[str]] = None) -> Node:
        """A node and all below it, or `depth` levels; what does not fit one reply is asked for in further ones."""
        node: Node = self.call("tree.get", given(path=path, depth=depth, fields=fields))
        todo = trees.cut_nodes(node)
        while todo:
            cut = todo.pop()
            params = given(path=cut["path"], after=cut.pop("more"), depth=depth, fields=fields)
            more: Node = self.call("tree.get", params)
            cut.setdefault("children", []).extend(more.get("children") or [])
            if more.get("more"):
                cut["more"] = more["more"]
                todo.append(cut)
            todo += [c for child in more.get("children") or [] for c in trees.cut_nodes(child)]
        return node

    def load(self, tree: Tree, *, deadline: Optional[float] = None) -> str:
        """Starts a tree; its path, when all of it is ready. See read_tree() for a file."""
        return str(self._change("tree.load", {"tree": tree}, deadline)["path"])

    def apply(self, tree: Tree, *, dry_run: bool = False, deadline: Optional[float] = None) -> Dict[str, Any]:
        """Makes a running tree what `tree` says, and tells what that changed (or would)."""
        params = given(tree=tree, dry_run=dry_run or None)
        return self._change("tree.apply", params, deadline)  # type: ignore[no-any-return]

    def validate(self, tree: Tree) -> List[Dict[str, str]]:
        """What is wrong with a tree: `{pointer, message}` each, none when it is well."""
        try:
            self.call("tree.validate", {"tree": tree})
        except errors.InvalidParams as error:
            if not error.problems:
                raise
            return error.problems
        return []

    def unload(self, path: str, *, deadline: Optional[float] = None) -> None:
        """Stops a tree and forgets it."""
        self._change("tree.unload", {"path": path}, deadline)

    def open_nursery(self, parent: str, name: Optional[str] = None, *, strategy: Optional[str] = None,
                     limits: Optional[Dict[str, Any]] = None) -> str:
        """A new supervisor below `parent`, that ends with this connection; its path."""
        params = given(parent=parent, name=name, strategy=strategy, limits=limits)
        return str(self.call("nursery.open", params)["path"])

    def close_nursery(self, path: str) -> None:
        """Ends a nursery and all in it."""
        self._change("nursery.close", {"path": path}, None)

    # --- actors ---------------------------------------------------------------------------------------------------

    def spawn(self, parent: str, name: str, exec: Optional[Sequence[str]] = None, *, want: Sequence[str] = (),
              deadline: Optional[float] = None, **keys: Any) -> Spawned:
        """Starts one more child below `parent`; `keys` are those of a tree file. It may have to become ready yet.

        `want` names descriptors to get with it: "pidfd", "portal"."""
        params = given(parent=parent, name=name, exec=list(exec) if exec else None, want=list(want) or None, **keys)
        # A portal is this connection's: it can't be told again on another.
        call = self._call("actor.spawn", params, deadline, None if "portal" in want else trees.new_key())
        return Spawned.from_result(call.result, list(want), call.fds)

    def cancel(self, path: str, reason: Optional[str] = None, *, grace: Optional[float] = None,
               deadline: Optional[float] = None) -> Optional[Exit]:
        """Stops a node and all below it for good, giving them `grace` seconds; how it ended."""
        params = given(path=path, reason=reason, grace_ms=trees.milliseconds(grace))
        return Exit.from_object(self._change("actor.cancel", params, deadline).get("exit"))

    def kill(self, path: str, signal: Union[str, int, None] = None) -> None:
        """Sends a signal (SIGTERM) to the main process; the end that comes of it counts as its own."""
        self._change("actor.kill", given(path=path, signal=signal), None)

    def restart(self, path: str, *, deadline: Optional[float] = None) -> None:
        """Stops a node and starts it again, or starts one that is dead or failed."""
        self._change("actor.restart", {"path": path}, deadline)

    def freeze(self, path: str) -> None:
        """Takes the CPU from a node and all below it."""
        self._change("actor.freeze", {"path": path}, None)

    def thaw(self, path: str) -> None:
        """Gives the CPU back."""
        self._change("actor.thaw", {"path": path}, None)

    def set_limits(self, path: str, **limits: Any) -> None:
        """Changes limits while it runs: `set_limits("/shop/api", MemoryMax="512M")`."""
        self._change("actor.set_limits", {"path": path, "limits": limits}, None)

    def find(self, name: str) -> Optional[Dict[str, str]]:
        """The actor that is registered under `name`, as `{path, id}`, or None."""
        return self.call("actor.find", {"name": name})  # type: ignore[no-any-return]

    def wait_for(self, name: str, *, deadline: Optional[float] = None) -> Dict[str, str]:
        """Likewise, and waits until there is one."""
        return self.call("actor.wait_for", {"name": name}, deadline=deadline)  # type: ignore[no-any-return]

    def connect(self, path: str, *, deadline: Optional[float] = None) -> Portal:
        """A Portal to an actor over a connection of its own, made by the supervisor. Waits until the actor is ready."""
        connection = self.connection
        call = connection._call("actor.connect", {"path": path}, deadline=deadline, keep_fds=True)
        return Portal(socket.socket(fileno=only_fd(call)), path, beside=connection, ends=call.ends)

    def attach(self, path: str, *, deadline: Optional[float] = None) -> Portal:
        """Likewise, over a new connection to the supervisor that is handed over: for where descriptors can't travel."""
        return attach(self.path, path, deadline)

    def events(self, path: Optional[str] = None, *, window: int = 1024) -> Stream:
        """What happens at `path` and below from now on. A slow reader loses items, which `lost` counts
        once a later one has come."""
        return self.open("events.subscribe", given(path=path), window=window, overrun="drop_oldest")

    def _change(self, method: str, params: Dict[str, Any], deadline: Optional[float]) -> Any:
        return self.call(method, params, deadline=deadline, key=True)

