# SPDX-License-Identifier: Apache-2.0
"""A client of tractor/1: structured concurrency across processes, asked from Python.

    with tractor.Client() as client:            # the supervisor that tractorctl would ask
        client.ping()
        with client.events("/shop") as events:
            for event in events:
                print(event["path"], event["event"])

    async with tractor.open_nursery() as n:     # an asyncio program, with actors of its own
        portal = await n.start_actor("adder", ["python3", "adder.py"])
        print(await portal.call("add", [1, 2]))

`tractor.aio` is Client for asyncio; `tractor.actor` is for programs that a supervisor runs with a channel, `tractor.stdio`
for those that serve on standard input and output; `tractor.core` is the protocol without input and output, to build on."""

from typing import TYPE_CHECKING, Any

from .client import Connection, Portal, Stream
from .control import Client
from .errors import (ActorDied, ActorStopped, AlreadyExists, Cancelled, ConnectionLost, DeadlineExceeded, ErrorGroup, Exit,
                     InternalError, InvalidParams, InvalidRequest, LimitExceeded, MailboxFull, MethodNotFound, NoSuchActor,
                     NoSupervisor, Overrun, ParseError, PermissionDenied, RemoteError, RestartLimit, SpawnFailed,
                     TractorError, Unsupported)
from .trees import Spawned, actors, read_tree

if TYPE_CHECKING:
    from .home import connect, find, open_root, register, unregister, wait_for
    from .nursery import Nursery, open_nursery

_ASYNC = {"Nursery": "nursery", "open_nursery": "nursery", "connect": "home", "find": "home", "open_root": "home",
          "register": "home", "unregister": "home", "wait_for": "home"}


def __getattr__(name: str) -> Any:
    """What needs asyncio, which programs that use only the blocking client shall not have to load."""
    if name not in _ASYNC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    return getattr(importlib.import_module(f"{__name__}.{_ASYNC[name]}"), name)


__all__ = [
    "ActorDied", "ActorStopped", "AlreadyExists", "Cancelled", "Client", "Connection", "ConnectionLost",
    "DeadlineExceeded", "ErrorGroup", "Exit", "InternalError", "InvalidParams", "InvalidRequest", "LimitExceeded",
    "MailboxFull", "MethodNotFound", "NoSuchActor", "NoSupervisor", "Nursery", "Overrun", "ParseError", "PermissionDenied",
    "Portal", "RemoteError", "RestartLimit", "SpawnFailed", "Spawned", "Stream", "TractorError", "Unsupported", "actors",
    "connect", "find", "open_nursery", "open_root", "read_tree", "register", "unregister", "wait_for",
]
__version__ = "0.1.0"
