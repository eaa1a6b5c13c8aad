# SPDX-License-Identifier: Apache-2.0
"""A client of tractor/1: structured concurrency across processes, asked from Python.

    with tractor.Client() as client:            # the supervisor that tractorctl would ask
        client.ping()
        with client.events("/shop") as events:
            for event in events:
                print(event["path"], event["event"])

`tractor.aio` is the same for asyncio; `tractor.actor` is for programs that a supervisor runs with a channel, `tractor.stdio`
for those that serve on standard input and output; `tractor.core` is the protocol without input and output, to build on."""

from .client import Connection, Portal, Stream
from .control import Client
from .errors import (ActorDied, ActorStopped, AlreadyExists, Cancelled, ConnectionLost, DeadlineExceeded, ErrorGroup, Exit,
                     InternalError, InvalidParams, InvalidRequest, LimitExceeded, MailboxFull, MethodNotFound, NoSuchActor,
                     NoSupervisor, Overrun, ParseError, PermissionDenied, RemoteError, RestartLimit, SpawnFailed,
                     TractorError, Unsupported)
from .trees import Spawned, actors, read_tree

__all__ = [
    "ActorDied", "ActorStopped", "AlreadyExists", "Cancelled", "Client", "Connection", "ConnectionLost",
    "DeadlineExceeded", "ErrorGroup", "Exit", "InternalError", "InvalidParams", "InvalidRequest", "LimitExceeded",
    "MailboxFull", "MethodNotFound", "NoSuchActor", "NoSupervisor", "Overrun", "ParseError", "PermissionDenied", "Portal",
    "RemoteError", "RestartLimit", "SpawnFailed", "Spawned", "Stream", "TractorError", "Unsupported", "actors", "read_tree",
]
__version__ = "0.1.0"
