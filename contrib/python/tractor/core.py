# SPDX-License-Identifier: Apache-2.0
"""tractor/1 as a machine without input and output.

A Machine is one end of one connection. Whoever has the socket gives it what came (receive(), eof()) and the time (tick() when
timeout() has passed), sends what `output` holds, and gets back events: a Call or Served whose state has changed, a Tell, a
PeerExited, a CancelActor. A face on it (sync, asyncio) adds nothing but waiting.

To a peer that said no hello nothing is sent that a stock JSON-RPC program would not know, neither `$` nor `$/…`. What needs
them (a dialog, a key, descriptors) is held back until the peer's hello comes, with all requests after it, and fails when
none does. What merely profits (a deadline, a cancel) is done on this side alone."""

from __future__ import annotations

import heapq
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, Iterable, List, Optional, Sequence, Tuple, Union

from . import errors
from .dialog import CREDIT_MAX, POLICIES, WINDOW, Call, Handed, Id, Incoming, Served
from .events import CancelActor, Closed, Complaint, Event, Hello, PeerExited, Tell
from .message import bad_id, bad_meta, count, invalid, key, natural
from .wire import (MAX_FDS, MAX_LINE, MAX_LINE_CHANNEL, MAX_LINE_EVER, MAX_VALUES, MAX_VALUES_CHANNEL, LineError, Output,
                   Splitter, StreamError, decode, encode, item_line, plain_item, text)

PROTOCOL = "tractor/1"
OPEN_CALLS = 1024
TELLS = 256
CANCEL_GRACE = 3.0
HELLO_GRACE = 3.0
EXIT_GRACE = 1.0


class Machine:
    """One end of a connection.

    `connector`: whether this end connected (odd ids, first hello). `hello`: what to say of ourselves; None keeps quiet, as a
    plain client. `channel`: it is an actor's to its supervisor, with its own bounds and frames. `trusted`: the peer is the
    supervisor, whose word on who cancelled is taken. `peer`: the peer's path as the supervisor gave it. `waits_for_exit`: after
    an EOF someone may still tell how the peer ended (peer_exited()), which is waited for a moment. `last_id`, `peer_hello`: of a
    connection that others used before, the highest id of its connector, and the hello that was said; none is said again."""

    def __init__(self, *, connector: bool, hello: Optional[Dict[str, Any]] = None, channel: bool = False,
                 trusted: bool = False, peer: Optional[str] = None, waits_for_exit: bool = False, last_id: int = 0,
                 peer_hello: Optional[Dict[str, Any]] = None, max_line: Optional[int] = None,
                 clock: Callable[[], float] = time.monotonic):
        self.output = Output()
        self.connector, self.channel, self.trusted, self.peer = connector, channel, trusted, peer
        self._parity = 1 if connector else 0
        self.peer_hello = peer_hello
        self.closed: Optional[errors.TractorError] = None
        self.closing = False  # send what is in `output`, then close
        self.waits_for_exit = waits_for_exit
        self.refuse_fds: List[int] = []  # descriptors nobody wanted, for the face to close
        self._handed = Handed()
        self.last_complaint: Optional[errors.TractorError] = None
        self.now = clock
        self._lines = Splitter(max_line or (MAX_LINE_CHANNEL if channel else MAX_LINE))
        self._send_max = MAX_LINE_CHANNEL if channel else MAX_LINE
        self._max_values = MAX_VALUES_CHANNEL if channel else MAX_VALUES
        self._hello = hello
        self._said_hello = peer_hello is not None
        self._hello_deadline: Optional[float] = None
        self._own_last = last_id if connector else 0
        self._peer_last = 0 if connector else last_id
        self._calls: Dict[int, Call] = {}
        self._served: Dict[Tuple[bool, Id], Served] = {}
        self._held: Deque[Tuple[Call, Dict[str, Any], List[int]]] = deque()
        self._timers: List[Tuple[float, int, Union[Call, Served], str]] = []
        self._timer_seq = 0
        self._eof_deadline: Optional[float] = None
        self._tell_credit = TELLS
        self._tells_taken = 0
        self._events: List[Event] = []
        if peer_hello is not None:
            self._heed(peer_hello)
        elif connector and hello is not None:
            self._say_hello()
            self._hello_deadline = clock() + HELLO_GRACE

    # --- what the face does ---------------------------------------------------------------------------------------

    def receive(self, data: bytes, fds: Sequence[int] = (), truncated: bool = False) -> List[Event]:
        """What one recv returned. `truncated`: some of its descriptors were lost on the way (MSG_CTRUNC)."""
        if self.closed or self._eof_deadline is not None:
            self.refuse_fds += fds
            return self.events()
        try:
            self._lines.feed(data, fds)
            if truncated:
                raise StreamError(-32600, "descriptors were lost")
            for line in self._lines.lines():
                self._line(line)
                if self.closed:
                    break
        except StreamError as error:
            self._refuse(error.code, str(error))
            self._shut(errors.ConnectionLost(str(error)))
        return self.events()

    def eof(self, error: Optional[errors.TractorError] = None) -> List[Event]:
        """Nothing more will come."""
        if not self.closed and self._eof_deadline is None:
            if self.waits_for_exit:
                self._eof_deadline = self.now() + EXIT_GRACE
            else:
                self._lost(error)
        return self.events()

    def peer_exited(self, exit: Any, backtrace: Any = None) -> List[Event]:
        """How the process at the other end ended, when that was told elsewhere."""
        if not self.closed:
            self._peer_exited({"path": self.peer, "exit": exit, "backtrace": backtrace})
        return self.events()

    def timeout(self) -> Optional[float]:
        """When tick() is due, by the machine's clock."""
        while self._timers and self._timers[0][2].done:
            heapq.heappop(self._timers)
        times = [self._timers[0][0]] if self._timers else []
        if self._hello_deadline is not None and self._held:
            times.append(self._hello_deadline)
        times += [self._eof_deadline] if self._eof_deadline is not None else []
        return min(times, default=None)

    def tick(self) -> List[Event]:
        """Does what has become due."""
        now = self.now()
        while self._timers and self._timers[0][0] <= now:
            _, _, which, what = heapq.heappop(self._timers)
            if not which.done:
                self._due(which, what)
        if self._hello_deadline is not None and self._hello_deadline <= now:
            self._hello_deadline = None
            self._release()  # without one
        if self._eof_deadline is not None and self._eof_deadline <= now and not self.closed:
            self._lost(None)
        return self.events()

    def events(self) -> List[Event]:
        """What has happened since the last time."""
        events, self._events = self._events, []
        return events

    @property
    def idle(self) -> bool:
        """Whether nothing is open, held or unsent: what a connection must be to be handed over."""
        return not (self._calls or self._served or self._held or self.output)

    @property
    def at_eof(self) -> bool:
        """Whether the peer's end has come and only word of how is waited for."""
        return self._eof_deadline is not None and self.closed is None

    @property
    def last_id(self) -> int:
        """The highest id of ours so far."""
        return self._own_last

    def text(self, value: Any) -> bytes:
        """A value as it stands in a line. Raises ValueError for one that does not fit."""
        return text(value, self._send_max - 256 if self._send_max > 512 else self._send_max, self._max_values - 8)

    def item(self, ident: Id, value: bytes, lost: int) -> int:
        """Sends an item of a dialog, whose value is encoded already; the length of the line."""
        if self.peer_hello is None or self.closed:
            return 0
        line = item_line(ident, value, lost)
        self.output.put(line)
        return len(line)

    # --- asking ---------------------------------------------------------------------------------------------------

    def call(self, method: str, params: Any = None, *, deadline: Optional[float] = None, key: Optional[str] = None,
             if_id: Optional[str] = None, trace: Optional[str] = None, fds: Sequence[int] = ()) -> Call:
        """Asks. The descriptors are closed once sent."""
        return self._ask(method, params, False, {"key": key, "if_id": if_id, "trace": trace}, deadline, fds, None)

    def open(self, method: str, params: Any = None, *, window: int = WINDOW, overrun: str = "wait",
             deadline: Optional[float] = None, key: Optional[str] = None, if_id: Optional[str] = None,
             trace: Optional[str] = None, fds: Sequence[int] = ()) -> Call:
        """Opens a dialog: `started` comes true, or it ends with an error."""
        incoming = Incoming(window, overrun)
        meta = {"ctx": True, "credit": window, "overrun": overrun, "key": key, "if_id": if_id, "trace": trace}
        return self._ask(method, params, True, meta, deadline, fds, incoming)

    def tell(self, method: str, params: Any = None, fds: Sequence[int] = ()) -> bool:
        """Sends a notification. False: the peer takes no more now, try again later."""
        if self.closed:
            raise self.closed
        costs = self.peer_hello is not None and not method.startswith("$/")
        if costs and not self._tell_credit:
            return False
        message: Dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        self._send(message, fds)
        self._tell_credit -= costs
        return True

    def tell_taken(self, tell: Tell) -> None:
        if tell.method.startswith("$/"):
            return
        self._tells_taken += 1
        if self._tells_taken * 2 >= TELLS:
            self.frame("$/credit", {"id": None, "n": self._tells_taken})
            self._tells_taken = 0

    def cancel(self, call: Call, reason: Optional[str] = None, grace: Optional[float] = None) -> None:
        """Asks for the end of a call; see Call.cancel()."""
        if call.done or call.cancelling:
            return
        held = self._unhold(call)
        if held or self.peer_hello is None:
            self._abandon(call)
            return
        call.cancelling = True
        params: Dict[str, Any] = {"id": call.id}
        if reason is not None:
            params["reason"] = reason
        self.frame("$/cancel", params)
        self._timer(self.now() + (CANCEL_GRACE if grace is None else grace), call, "abandon")

    def give_up(self, call: Call, error: errors.TractorError, reason: str) -> None:
        """Ends a call on this side at once, and tells the other."""
        if not self._unhold(call) and not call.cancelling:
            self.frame("$/cancel", {"id": call.id, "reason": reason})
        self._end(call, error)

    def frame(self, method: str, params: Dict[str, Any]) -> int:
        """Sends a notification of the protocol's own, to a peer that knows it; the length of the line."""
        if self.peer_hello is None or self.closed:
            return 0
        return self._send({"jsonrpc": "2.0", "method": method, "params": params})

    def answer(self, served: Served, outcome: Dict[str, Any], fds: List[int]) -> None:
        served.close_streams()
        self._served.pop(key(served.id), None)
        if self.closed:
            self.refuse_fds += fds
            return
        message: Dict[str, Any] = {"jsonrpc": "2.0", "id": served.id, **outcome}
        try:
            self._send(message, fds)
        except LineError as error:
            self.refuse_fds += fds
            problem = errors.InternalError(f"the answer can't be sent: {error}").to_object()
            self._send({"jsonrpc": "2.0", "id": served.id, "error": problem})

    def _ask(self, method: str, params: Any, dialog: bool, meta: Dict[str, Any], deadline: Optional[float],
             fds: Sequence[int], incoming: Optional[Incoming]) -> Call:
        if self.closed:
            raise self.closed
        if len(self._calls) >= OPEN_CALLS and not dialog:
            raise errors.MailboxFull(f"{OPEN_CALLS} calls are open on this connection")
        if len(fds) > MAX_FDS:
            raise ValueError(f"at most {MAX_FDS} descriptors go with one message")
        if not isinstance(params, (dict, list, tuple, type(None))):
            raise TypeError("params must be an object or an array")
        self.text(params)
        ident = self._own_last + 2 if self._own_last else (1 if self.connector else 2)
        call = Call(self, ident, method, dialog)
        if incoming:
            call.incoming = incoming
        self._own_last = ident
        self._calls[ident] = call
        if deadline is not None:
            call.deadline = self.now() + deadline
            self._timer(call.deadline, call, "deadline")
        meta = {k: v for k, v in meta.items() if v is not None}
        if fds:
            meta["fds"] = len(fds)
        message: Dict[str, Any] = {"jsonrpc": "2.0", "id": ident, "method": method}
        if params is not None:
            message["params"] = params
        message["$"] = meta
        self._held.append((call, message, list(fds)))
        self._release()
        return call

    def _release(self) -> None:
        while self._held:
            call, message, fds = self._held[0]
            if self.peer_hello is None and set(message["$"]) - {"trace"}:
                if self._hello_deadline is not None:
                    return
                self._held.popleft()
                self.refuse_fds += fds
                self._end(call, errors.Unsupported("the other side said no hello: it takes plain calls only"))
                continue
            self._held.popleft()
            meta = message.pop("$")
            if call.deadline is not None:
                meta["deadline_ms"] = max(1, int((call.deadline - self.now()) * 1000))
            if self.peer_hello is not None and meta:
                message["$"] = meta
            try:
                self._send(message, fds)
            except LineError as error:
                self.refuse_fds += fds
                self._end(call, errors.InvalidParams(str(error)))

    def _unhold(self, call: Call) -> bool:
        for item in self._held:
            if item[0] is call:
                self._held.remove(item)
                self.refuse_fds += item[2]
                return True
        return False

    # --- ends -----------------------------------------------------------------------------------------------------

    def _end(self, call: Call, error: Optional[errors.TractorError], result: Any = None,
             fds: Iterable[int] = ()) -> None:
        if call.done:
            return
        self.refuse_fds += call.end(error, result, list(fds))
        self._calls.pop(int(call.id), None)
        self._handed.note(call)
        self._events.append(call)

    def _abandon(self, call: Call) -> None:
        data: Dict[str, Any] = {"abandoned": True}
        if self._hello and self._hello.get("path"):
            data["canceller"] = self._hello["path"]
        self._end(call, errors.Cancelled("cancelled, and no answer was waited for", data))

    def _end_all(self, error: errors.TractorError) -> None:
        for call in list(self._calls.values()):
            self._end(call, error)
        self.refuse_fds += [fd for _, _, fds in self._held for fd in fds]
        self._held.clear()

    def _shut(self, error: errors.TractorError) -> None:
        """Ends everything but the sending of what is queued."""
        if self.closed:
            return
        self.closing = True
        self.closed = error
        self._end_all(error)
        for served in list(self._served.values()):
            served.cancelled = served.cancelled or errors.Cancelled("the one who asked is gone")
            served.close_streams()
            self._events.append(served)
        self._served.clear()
        self.refuse_fds += self._lines.unclaimed()
        self._events.append(Closed(error))

    def _lost(self, error: Optional[errors.TractorError]) -> None:
        if error is None:
            why = f" ({self.last_complaint})" if self.last_complaint else ""
            error = errors.ConnectionLost(f"the connection was closed by the other side{why}",
                                          {"actor": self.peer} if self.peer else None)
        self.refuse_fds += self.output.drop()
        self._shut(error)

    def _peer_exited(self, params: Dict[str, Any]) -> None:
        told = PeerExited.of({**params, "path": params.get("path") or self.peer})
        self._events.append(told)
        self._shut(errors.died(told.path, told.exit, told.backtrace))

    def _refuse(self, code: int, message: str) -> None:
        if not self.closed:
            self._send({"jsonrpc": "2.0", "id": None, "error": errors.BY_CODE[code](message).to_object()})

    def _timer(self, when: float, which: Union[Call, Served], what: str) -> None:
        self._timer_seq += 1
        heapq.heappush(self._timers, (when, self._timer_seq, which, what))

    def _due(self, which: Union[Call, Served], what: str) -> None:
        if isinstance(which, Call):
            if what == "abandon":
                self._abandon(which)
            else:
                error = errors.DeadlineExceeded(f"{which.method} took longer than it was given")
                self.give_up(which, error, "deadline")
        elif which.cancel(None, "deadline"):
            which.cancelled = errors.DeadlineExceeded(f"{which.method} took longer than it was given")
            self._events.append(which)

    def _say_hello(self) -> None:
        self._said_hello = True
        params = {"protocol": PROTOCOL, **(self._hello or {}), "max_line": self._lines.max_line}
        self._send({"jsonrpc": "2.0", "method": "$/hello", "params": params})

    def _heed(self, hello: Dict[str, Any]) -> None:
        max_line = hello.get("max_line")
        if isinstance(max_line, int) and 0 < max_line <= MAX_LINE_EVER:
            self._send_max = min(max_line, self._send_max) if self.channel else max_line

    def _f_hello(self, params: Dict[str, Any], size: int) -> None:
        protocol = params.get("protocol")
        if not isinstance(protocol, str) or protocol.split(".")[0] != PROTOCOL:
            self._refuse(-32010, f"protocol {protocol!r}: only {PROTOCOL} is spoken here")
            self._shut(errors.Unsupported(f"the other side speaks {protocol!r}"))
            return
        self._heed(params)
        self.peer_hello = params
        self._hello_deadline = None
        if not self._said_hello and self._hello is not None:
            self._say_hello()
        self._events.append(Hello(params))
        self._release()

    def _send(self, message: Dict[str, Any], fds: Sequence[int] = ()) -> int:
        if fds:
            message.setdefault("$", {})["fds"] = len(fds)
        line = encode(message, self._send_max, self._max_values)
        self.output.put(line, fds)
        return len(line)

    def _line(self, line: bytes) -> None:
        item = plain_item(line)
        if item:
            self._f_next(item, len(line))
            return
        try:
            message = decode(line, self._max_values)
        except LineError as error:
            # A peer that died in the middle of a line leaves it before its $/peer_exited: no more than a line lost.
            self._refuse(-32700, str(error))
            return
        problem = invalid(message)
        meta = message.get("$", {}) if isinstance(message, dict) else {}
        fds = self._lines.claim(count(meta.get("fds"))) if isinstance(meta, dict) else []
        if problem:
            self.refuse_fds += fds
            if isinstance(message, dict) and "error" in message and not {"method", "result"} & set(message):
                return  # an error about an error would go to and fro for ever
            self._refuse(-32600, problem)
        elif "method" not in message:
            self._response(message, fds, len(line))
        elif "id" in message:
            self._request(message, meta, fds)
        else:
            self._notification(message["method"], message.get("params"), fds, len(line))

    def _request(self, message: Dict[str, Any], meta: Dict[str, Any], fds: List[int]) -> None:
        ident, method = message["id"], message["method"]
        served = Served(self, ident, method, message.get("params"), meta, fds)
        if key(ident) in self._served:
            self.refuse_fds += fds
            self._refuse(-32600, f"the id {ident!r} is in use")
            return
        wrong = bad_meta(meta) or bad_id(ident, served.dialog, self._parity, self._peer_last)
        problem: Optional[errors.TractorError] = errors.InvalidRequest(wrong) if wrong else None
        if problem is None and len(self._served) >= OPEN_CALLS:
            problem = errors.MailboxFull(f"{OPEN_CALLS} calls are open on this connection")
        if isinstance(ident, int) and ident % 2 != self._parity:
            self._peer_last = max(self._peer_last, ident)
        self._served[key(ident)] = served
        if problem is not None:
            self.refuse_fds += fds
            served.fail(problem)
            return
        if served.dialog:
            served.out.credit = min(meta.get("credit", WINDOW), CREDIT_MAX)
            served.out.policy = meta.get("overrun", "wait")
        deadline = meta.get("deadline_ms")
        if deadline is not None:
            self._timer(self.now() + deadline / 1000, served, "deadline")
        self._events.append(served)

    def _response(self, message: Dict[str, Any], fds: List[int], size: int) -> None:
        ident = message["id"]
        if ident is None:
            self.refuse_fds += fds
            self.last_complaint = errors.from_object(message["error"])
            self._events.append(Complaint(self.last_complaint))
            return
        call = self._calls.get(ident) if isinstance(ident, int) else None
        if call is None:
            self.refuse_fds += fds
            self._never_open(ident)
        elif "error" in message:
            self.refuse_fds += fds
            self._end(call, errors.from_object(message["error"]))
        elif call.dialog and not call.started:
            self.refuse_fds += fds
            self._end(call, errors.InvalidRequest(f"{call.method} ended with a result and was never started"))
        else:
            self._end(call, None, message["result"], fds)

    def _never_open(self, ident: Any) -> None:
        if isinstance(ident, int) and not isinstance(ident, bool) and ident > 0:
            last = self._own_last if ident % 2 == self._parity else self._peer_last
            if ident <= last:
                return  # a late frame for what has ended
        self._refuse(-32600, f"nothing was ever open under the id {ident!r}")

    def _notification(self, method: str, params: Any, fds: List[int], size: int) -> None:
        handler = self._frames.get(method)
        if handler is None:
            if method.startswith("$/") and not self.channel and not self.trusted:
                self.refuse_fds += fds
                return  # of a later minor version
            self._events.append(Tell(self, method, params, fds))
            return
        self.refuse_fds += fds
        if not isinstance(params, dict):
            self._refuse(-32600, f"{method} needs an object")
            return
        handler(self, params, size)

    def _f_peer_exited(self, params: Dict[str, Any], size: int) -> None:
        if self.trusted:  # of someone else: on a channel or control connection it names a portal's other end
            self._events.append(self._handed.tell(PeerExited.of(params)))
        else:
            self._peer_exited(params)

    def _f_started(self, params: Dict[str, Any], size: int) -> None:
        call = self._calls.get(params["id"]) if natural(params.get("id")) else None
        if call is None:
            self._never_open(params.get("id"))
        elif not call.dialog or call.started:
            what = "twice" if call.dialog else "for a call, which is no dialog"
            self.give_up(call, errors.InvalidRequest(f"$/started came {what}"), "$/started out of order")
        elif not natural(params.get("credit", WINDOW)) or params.get("overrun", "wait") not in POLICIES:
            self.give_up(call, errors.InvalidRequest("$/started is malformed"), "$/started malformed")
        else:
            call.started = True
            call.value = params.get("value")
            call.out.policy = params.get("overrun", "wait")
            call.credited(params.get("credit", WINDOW))
            self._events.append(call)

    def _f_next(self, params: Dict[str, Any], size: int) -> None:
        which = self._dialog(params)
        if which is None:
            return
        lost = params.get("lost", 0)
        if not which.started or which.incoming.ended:
            self._broken(which, "$/next " + ("after $/stop" if which.started else "before $/started"))
        elif "value" not in params or not natural(lost):
            self._broken(which, "a malformed $/next")
        elif not which.incoming.put(params["value"], size, lost):
            self._refuse(-32600, f"$/next without credit for {which.id}: dropped")
        else:
            self._events.append(which)

    def _f_credit(self, params: Dict[str, Any], size: int) -> None:
        n: Any = params.get("n")
        which = None
        if not natural(n) or not n:
            self._refuse(-32600, "n of $/credit is a whole number from 1")
        elif params.get("id", 0) is None:
            self._tell_credit = min(self._tell_credit + n, CREDIT_MAX)
        else:
            which = self._dialog(params)
        if which is not None:
            which.credited(n)
            self._events.append(which)

    def _f_stop(self, params: Dict[str, Any], size: int) -> None:
        which = self._dialog(params)
        if which is not None and which.started and not which.incoming.ended:
            which.incoming.ended = True
            self._events.append(which)
        elif which is not None:
            self._broken(which, "$/stop " + ("twice" if which.started else "before $/started"))

    def _f_cancel(self, params: Dict[str, Any], size: int) -> None:
        ident, reason = params.get("id"), params.get("reason")
        canceller = params.get("canceller") if self.trusted else self.peer
        if ident is None and self.channel:
            self._events.append(CancelActor(reason, canceller, params.get("grace_ms")))
            return
        served = self._served.get(key(ident)) if isinstance(ident, (int, float, str)) else None
        if served is None:
            self._never_open(ident)
        elif served.cancel(canceller, reason):
            self._events.append(served)

    def _dialog(self, params: Dict[str, Any]) -> Union[Call, Served, None]:
        ident: Any = params.get("id")
        which: Union[Call, Served, None] = None
        if natural(ident):
            own = ident % 2 == self._parity
            which = self._calls.get(ident) if own else self._served.get(key(ident))
        if which is None:
            self._never_open(ident)
        elif not which.dialog:
            self._refuse(-32600, f"{ident} is a call, which has no streams")
            return None
        return which

    def _broken(self, which: Union[Call, Served], what: str) -> None:
        error = errors.InvalidRequest(f"{which.method}: {what}")
        if isinstance(which, Call):
            self.give_up(which, error, what)
            return
        which.cancelled = error
        which.fail(error)
        self._events.append(which)

    _frames: Dict[str, Callable[["Machine", Dict[str, Any], int], None]] = {
        "$/hello": _f_hello, "$/peer_exited": _f_peer_exited, "$/started": _f_started, "$/next": _f_next,
        "$/credit": _f_credit, "$/stop": _f_stop, "$/cancel": _f_cancel,
    }
