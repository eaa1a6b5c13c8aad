# SPDX-License-Identifier: Apache-2.0
"""Errors of tractor/1 as exceptions.

One class for each code of the protocol, and one way between an error object and an exception in either direction. The
code decides the class; `type` is the name the other side gave it, which for a RemoteError is that of the handler's own
exception. What an error object may carry beside code and message is an attribute here, None where it was absent."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass, field
from typing import Any, ClassVar, Dict, List, Mapping, Optional, Sequence, Tuple, Type, Union, cast


@dataclass(frozen=True)
class Exit:
    """How a process ended: by `code` or by `signal`, and why (`cause`)."""

    code: Optional[int] = None
    signal: Optional[Union[str, int]] = None
    core: bool = False
    oom: bool = False
    cause: str = "unknown"
    pid: Optional[int] = None
    runtime_ms: Optional[int] = None
    report: Any = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_object(cls, value: Any) -> Optional["Exit"]:
        """An exit as the protocol writes it; None for what is no object."""
        if not isinstance(value, dict):
            return None
        known = {k: v for k, v in value.items() if k in cls.__dataclass_fields__ and k != "raw"}
        return cls(raw=value, **known)

    def __str__(self) -> str:
        how = f"signal {self.signal}" if self.signal is not None else f"code {self.code}"
        return f"{how}, cause {self.cause}" + (", core dumped" if self.core else "")


class TractorError(Exception):
    """Any error of this package that has a place in the protocol."""

    code: int = -32603
    name: ClassVar[str] = "InternalError"

    def __init__(self, message: str = "", data: Optional[Mapping[str, Any]] = None, code: Optional[int] = None):
        super().__init__(message)
        self._message = message
        self.data: Dict[str, Any] = dict(data or {})
        if code is not None:
            self.code = code

    @property
    def message(self) -> str:
        """What happened, in words."""
        return self._message

    @property
    def type(self) -> str:
        """The name of the error as its origin gave it."""
        return str(self.data.get("type") or self.name)

    @property
    def actor(self) -> Optional[str]:
        """The path of the actor it is about."""
        return self.data.get("actor")

    @property
    def canceller(self) -> Optional[str]:
        """Who cancelled."""
        return self.data.get("canceller")

    @property
    def reason(self) -> Optional[str]:
        """Why it was cancelled, as the canceller put it."""
        reason = self.data.get("reason")
        return reason if isinstance(reason, str) else None

    @property
    def errno(self) -> Optional[int]:
        """The number of the system's error behind it."""
        return self.data.get("errno")

    @property
    def step(self) -> Optional[str]:
        """Which step of a start failed."""
        return self.data.get("step")

    @property
    def exit(self) -> Optional[Exit]:
        """How the process ended."""
        return Exit.from_object(self.data.get("exit"))

    @property
    def relay(self) -> List[str]:
        """The actors that passed the error on, nearest to its origin first."""
        return list(self.data.get("relay") or [])

    @property
    def backtrace(self) -> List[str]:
        """Where it arose, in the words of its origin."""
        return list(self.data.get("backtrace") or [])

    @property
    def problems(self) -> List[Dict[str, str]]:
        """What is wrong with a tree: `{pointer, message}` each."""
        return list(self.data.get("problems") or [])

    @property
    def causes(self) -> List["TractorError"]:
        """The errors that this one sums up."""
        return [from_object(e) for e in self.data.get("causes") or [] if isinstance(e, dict)]

    @property
    def abandoned(self) -> bool:
        """Whether this side stopped waiting; what became of it over there is unknown."""
        return bool(self.data.get("abandoned"))

    def to_object(self) -> Dict[str, Any]:
        """The error object that says this."""
        return {"code": self.code, "message": self.message, "data": {"type": self.type, **self.data}}

    def __str__(self) -> str:
        return f"{self.message or self.type} ({self.type}, {self.code})"


class ParseError(TractorError):
    """A line was no JSON, or broke a bound."""

    code, name = -32700, "ParseError"


class InvalidRequest(TractorError):
    """A message that makes no sense here."""

    code, name = -32600, "InvalidRequest"


class MethodNotFound(TractorError):
    """There is no such method, or it is not exposed."""

    code, name = -32601, "MethodNotFound"


class InvalidParams(TractorError):
    """Parameters that the method does not take; a wrong tree says what is wrong in `problems`."""

    code, name = -32602, "InvalidParams"


class InternalError(TractorError):
    """The other side failed by itself."""

    code, name = -32603, "InternalError"


class Cancelled(TractorError):
    """It was cancelled; `canceller` says by whom."""

    code, name = -32800, "Cancelled"


class RemoteError(TractorError):
    """A handler failed; `type` is the name of its own error."""

    code, name = -32001, "RemoteError"


class ActorStopped(TractorError):
    """The actor is stopped, stopping or not started yet."""

    code, name = -32002, "ActorStopped"


class ActorDied(TractorError):
    """The actor ended with the question open; `exit` says how."""

    code, name = -32003, "ActorDied"


class NoSuchActor(TractorError):
    """There is nothing at this path."""

    code, name = -32004, "NoSuchActor"


class MailboxFull(TractorError):
    """Too many questions are open, or there is no room to try."""

    code, name = -32005, "MailboxFull"


class Overrun(TractorError):
    """The receiver did not keep up, and wished that to be an error."""

    code, name = -32006, "Overrun"


class DeadlineExceeded(TractorError):
    """It took longer than it was given."""

    code, name = -32007, "DeadlineExceeded"


class AlreadyExists(TractorError):
    """There is something at this path already."""

    code, name = -32008, "AlreadyExists"


class PermissionDenied(TractorError):
    """This user may not do this."""

    code, name = -32009, "PermissionDenied"


class Unsupported(TractorError):
    """The other side's version has not got this."""

    code, name = -32010, "Unsupported"


class LimitExceeded(TractorError):
    """A quota of this side is used up."""

    code, name = -32011, "LimitExceeded"


class SpawnFailed(TractorError):
    """A program could not be started; `step` and `errno` say why."""

    code, name = -32012, "SpawnFailed"


class ErrorGroup(TractorError, ExceptionGroup[TractorError]):
    """Several failed: an ExceptionGroup whose `exceptions` (and `causes`) are each of them, for `except*`."""

    code, name = -32013, "ErrorGroup"

    def __new__(cls, message: str = "", data: Optional[Mapping[str, Any]] = None, code: Optional[int] = None) -> "ErrorGroup":
        causes = [from_object(e) for e in (data or {}).get("causes") or [] if isinstance(e, dict)]
        new: Any = super().__new__  # what it takes is told of the two bases together by some checkers only
        return cast(ErrorGroup, new(cls, message, causes or [InternalError("nothing was said of the causes")]))

    @property
    def causes(self) -> List[TractorError]:
        """The errors that this one sums up."""
        return cast(List[TractorError], list(self.exceptions))

    def derive(self, excs: Sequence[Exception]) -> "ErrorGroup":  # type: ignore[override]
        """A group of some of the same, for split() and subgroup()."""
        return from_group(ExceptionGroup(self.message, excs))


class RestartLimit(TractorError):
    """It was restarted too often; `causes` has the last ends."""

    code, name = -32014, "RestartLimit"


class ConnectionLost(TractorError):
    """The connection went; what became of the other side is unknown."""

    code, name = -32015, "ConnectionLost"


class NoSupervisor(ConnectionLost):
    """There is no supervisor to talk to, or no single one."""


def _family(cls: Type[TractorError]) -> List[Type[TractorError]]:
    return [cls] + [c for sub in cls.__subclasses__() for c in _family(sub)]


BY_CODE: Dict[int, Type[TractorError]] = {
    c.code: c for c in _family(TractorError) if c not in (TractorError, NoSupervisor)
}


def from_object(error: Mapping[str, Any]) -> TractorError:
    """The exception for an error object, whoever wrote it: what is not as it should be becomes a RemoteError."""
    code, data = error.get("code"), error.get("data")
    if isinstance(code, bool) or not isinstance(code, int):
        code = RemoteError.code
    if data is not None and not isinstance(data, dict):
        data = {"value": data}
    return BY_CODE.get(code, RemoteError)(str(error.get("message", "")), data, code)


def from_exception(error: BaseException) -> TractorError:
    """What a handler's exception is to the one who asked."""
    if isinstance(error, TractorError):
        return error
    if isinstance(error, BaseExceptionGroup):
        return from_group(error)
    data: Dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, OSError) and error.errno:
        data["errno"] = error.errno
    data["backtrace"] = backtrace_of(error)
    message = str(error) or type(error).__name__
    if isinstance(error, asyncio_cancelled()):
        return Cancelled(message, {**data, "type": "Cancelled"})
    if error.__cause__ is not None and error.__cause__ is not error:
        data["causes"] = [_shallow(error.__cause__)]
    if isinstance(error, TimeoutError) and not error.errno:
        return DeadlineExceeded(message, {**data, "type": "DeadlineExceeded"})
    return RemoteError(message, data)


def from_group(group: "BaseExceptionGroup[BaseException]", depth: int = 16) -> ErrorGroup:
    """An ExceptionGroup as an error: members of members too, `depth` levels deep."""
    causes = []
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup) and not isinstance(error, TractorError):
            causes.append((from_group(error, depth - 1) if depth else InternalError(str(error))).to_object())
        else:
            causes.append(from_exception(error).to_object())
    data = {"causes": causes, "backtrace": backtrace_of(group)}
    return ErrorGroup(group.message, data)


def relayed(error: TractorError, path: Optional[str]) -> TractorError:
    """The same as it goes on from the actor at `path`, which joins its `relay`."""
    if not path:
        return error
    data = {"actor": path, **error.data, "type": error.type, "relay": [*error.relay, path]}
    return type(error)(error.message, data, error.code)


def died(path: Optional[str], exit: Any, backtrace: Any = None) -> ActorDied:
    """What is to be said of a question that was open when the actor at `path` ended."""
    how = f"{path or 'the other side'} ended: {Exit.from_object(exit) or 'unknown how'}"
    data = {"actor": path, "exit": exit}
    return ActorDied(how, {**data, "backtrace": backtrace} if isinstance(backtrace, list) else data)


def backtrace_of(error: BaseException) -> List[str]:
    """Where it was raised, the innermost frame first, in the protocol's words."""
    frames = [f"{f.name} ({os.path.basename(f.filename)}:{f.lineno})" for f in traceback.extract_tb(error.__traceback__)]
    return [f"#{i} {frame}" for i, frame in enumerate(reversed(frames[-32:]))]


def _shallow(error: BaseException) -> Dict[str, Any]:
    own = error if isinstance(error, TractorError) else RemoteError(
        str(error) or type(error).__name__, {"type": type(error).__name__, "backtrace": backtrace_of(error)})
    return own.to_object()


def asyncio_cancelled() -> Tuple[Type[BaseException], ...]:
    """CancelledError, where asyncio is in use at all: blocking clients don't load it."""
    asyncio = sys.modules.get("asyncio")
    return (asyncio.CancelledError,) if asyncio else ()


def from_errno(error: OSError, where: str) -> ConnectionLost:
    """A failed system call on a connection."""
    why = os.strerror(error.errno) if error.errno else str(error)
    return ConnectionLost(f"{where}: {why}", {"type": "ConnectionLost", "errno": error.errno})
