# SPDX-License-Identifier: Apache-2.0
"""What a Machine reports, beside the Call or Served whose state has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, NamedTuple, Optional, Union

from .dialog import Call, Served
from .errors import TractorError

if TYPE_CHECKING:
    from .core import Machine


class Tell(NamedTuple):
    """A notification; `$/…` ones of the channel too. taken() gives its credit back."""

    machine: "Machine"
    method: str
    params: Any
    fds: List[int]

    def taken(self) -> None:
        self.machine.tell_taken(self)


class PeerExited(NamedTuple):
    """The process at the other end, or at the end of one of our portals, has ended."""

    path: Optional[str]
    id: Optional[str]
    exit: Any
    backtrace: Any = None

    @classmethod
    def of(cls, params: Dict[str, Any]) -> "PeerExited":
        return cls(params.get("path"), params.get("id"), params.get("exit"), params.get("backtrace"))


class CancelActor(NamedTuple):
    """The supervisor wants this whole actor ended."""

    reason: Optional[str]
    canceller: Optional[str]
    grace_ms: Optional[int]


class Complaint(NamedTuple):
    """The peer found fault with a line of ours that it could not name."""

    error: TractorError


class Hello(NamedTuple):
    """The peer said hello."""

    params: Dict[str, Any]


class Closed(NamedTuple):
    """The connection has ended; all that was open has."""

    error: TractorError


Event = Union[Call, Served, Tell, PeerExited, CancelActor, Complaint, Hello, Closed]
