# SPDX-License-Identifier: Apache-2.0
"""One conversation: a call, or a dialog with streams both ways, seen from either end.

A dialog has a window in each direction. Outgoing is ours to fill: an item costs one credit, and what is to happen without
credit is the receiver's wish (`wait`, `error`, `drop_oldest`), carried out in this queue. Incoming holds what has come and
was not taken yet, and gives credit back in batches as it is taken. Call is a question of ours, Served one of theirs; both say
what they have to say through the Machine, which alone knows the connection. Nothing here waits."""

from __future__ import annotations

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Deque, Dict, List, Optional, Sequence, Tuple, Union

from . import errors
from .wire import LineError

if TYPE_CHECKING:
    from .core import Machine
    from .events import PeerExited

WINDOW = 64
WINDOW_BYTES = 4 << 20
CREDIT_MAX = 1 << 31
POLICIES = ("wait", "error", "drop_oldest")
Id = Union[int, float, str]


class _Nothing:
    def __repr__(self) -> str:
        return "NOTHING"

    def __bool__(self) -> bool:
        return False


NOTHING: Any = _Nothing()
"""What take() returns when there is no item (None is an item like any other)."""


class Outgoing:
    """Our items on their way to the peer."""

    def __init__(self) -> None:
        self.credit = 0
        self.policy = "wait"
        self.under_way: Deque[int] = deque()  # sizes of the items for which no credit came back, oldest first
        self.under_way_bytes = 0
        self.queue: Deque[bytes] = deque()  # their JSON
        self.bytes = 0
        self.lost = 0
        self.stopping = False  # no more items will be put
        self.stopped = False  # $/stop went out

    def put(self, text: bytes) -> bool:
        """Queues an item, or refuses it under `wait`. Raises Overrun under `error`."""
        if self.credit <= len(self.queue) or self.under_way_bytes >= WINDOW_BYTES:
            if self.policy == "wait":
                return False
            if self.policy == "error":
                raise errors.Overrun("the receiver did not keep up")
        self.queue.append(text)
        self.bytes += len(text)
        while len(self.queue) > WINDOW or (self.bytes > WINDOW_BYTES and len(self.queue) > 1):
            self.bytes -= len(self.queue.popleft())
            self.lost += 1
        return True

    def next(self) -> Optional[Tuple[bytes, int]]:
        """The item to send now, with the number lost before it."""
        if not self.queue or not self.credit or self.under_way_bytes >= WINDOW_BYTES:
            return None
        text = self.queue.popleft()
        self.bytes -= len(text)
        self.credit -= 1
        lost, self.lost = self.lost, 0
        return text, lost

    def sent(self, size: int) -> None:
        """An item went, as a line of `size` bytes."""
        self.under_way.append(size)
        self.under_way_bytes += size

    def credited(self, count: int) -> None:
        """The peer takes `count` more, having taken its oldest."""
        self.credit = min(self.credit + count, CREDIT_MAX)
        for _ in range(min(count, len(self.under_way))):
            self.under_way_bytes -= self.under_way.popleft()


class Incoming:
    """The peer's items, come and not yet taken."""

    def __init__(self, window: int = WINDOW, policy: str = "wait"):
        if policy not in POLICIES:
            raise ValueError(f"overrun must be one of {', '.join(POLICIES)}")
        if isinstance(window, bool) or not isinstance(window, int) or not 0 < window <= CREDIT_MAX:
            raise ValueError("a window must be at least 1")
        self.window = window
        self.policy = policy
        self.granted = window
        self.items: Deque[Tuple[Any, int, int]] = deque()
        self.taken = 0
        self.taken_bytes = 0
        self.bytes = 0  # of all items for which no credit went back
        self.lost = 0
        self.ended = False

    def put(self, value: Any, size: int, lost: int) -> bool:
        """Takes in an item; false when the peer had no credit for it, or too many bytes under way already."""
        if not self.granted or self.bytes >= WINDOW_BYTES:
            return False
        self.granted -= 1
        self.bytes += size
        self.items.append((value, size, lost))
        return True

    def take(self) -> Tuple[Any, int]:
        """The next item or NOTHING, and the credit to give back now."""
        if not self.items:
            return NOTHING, 0
        value, size, lost = self.items.popleft()
        self.lost += lost
        self.taken += 1
        self.taken_bytes += size
        # By bytes too: a sender that has its share under way waits for credit that would not be due by items.
        if self.taken * 2 < self.window and self.bytes * 2 < WINDOW_BYTES:
            return value, 0
        self.bytes -= self.taken_bytes
        back, self.taken, self.taken_bytes = self.taken, 0, 0
        self.granted += back
        return value, back


class Conversation:
    """What a call of ours and a question of theirs have in common."""

    def __init__(self, machine: "Machine", ident: Id, method: str, dialog: bool):
        self.machine = machine
        self.id = ident
        self.method = method
        self.dialog = dialog
        self.started = False
        self.done = False
        self.out = Outgoing()
        self.incoming = Incoming()
        self.user: List[Any] = []  # for the face: who waits here

    def send(self, value: Any) -> bool:
        """Sends one item. False: no credit, try again when the conversation has changed. Raises what ended it."""
        self._may_send()
        text = self._text(value)
        try:
            accepted = self.out.put(text)
        except errors.Overrun as overrun:
            self._overrun(overrun)
            raise
        self._flush()
        return accepted

    def take(self) -> Any:
        """The next item of the peer's, or NOTHING; `ended` tells whether more can come."""
        value, back = self.incoming.take()
        if back and not self.done and not self.incoming.ended:
            self.machine.frame("$/credit", {"id": self.id, "n": back})
        return value

    @property
    def ended(self) -> bool:
        """Whether all of the peer's items were taken and none will come."""
        return not self.incoming.items and (self.done or self.incoming.ended)

    @property
    def lost(self) -> int:
        """How many of the peer's items were dropped before those taken so far."""
        return self.incoming.lost

    def stop(self) -> None:
        """Says that no more items come from us, once those queued have gone."""
        if self.dialog and not self.done and not self.out.stopping:
            self.out.stopping = True
            self._flush()

    def _may_send(self) -> None:
        if not self.dialog:
            raise errors.InvalidRequest(f"{self.method} was called, not opened: there is no stream")
        if not self.started:
            raise errors.InvalidRequest("a stream is used before the dialog was started")
        if self.out.stopping:
            raise errors.InvalidRequest("an item after stop")

    def _text(self, value: Any) -> bytes:
        try:
            return self.machine.text(value)
        except LineError as error:
            raise ValueError(str(error)) from None

    def _overrun(self, overrun: errors.Overrun) -> None:
        raise NotImplementedError

    def _flush(self) -> None:
        while not self.done:
            item = self.out.next()
            if item is None:
                break
            self.out.sent(self.machine.item(self.id, *item))
        if self.out.stopping and not self.out.queue and not self.out.stopped and not self.done:
            self.out.stopped = True
            self._drained()

    def _drained(self) -> None:
        if self.started:
            self.machine.frame("$/stop", {"id": self.id})

    def credited(self, count: int) -> None:
        """`count` more of our items may go."""
        self.out.credited(count)
        self._flush()

    def close_streams(self) -> None:
        self.done = True
        self.out.queue.clear()
        self.out.bytes = 0


class Call(Conversation):
    """A question of ours: open until `done`, then `error` is set, or `result` (and `fds`) holds."""

    def __init__(self, machine: "Machine", ident: int, method: str, dialog: bool):
        super().__init__(machine, ident, method, dialog)
        self.value: Any = None  # of $/started
        self.result: Any = None
        self.fds: List[int] = []
        self.error: Optional[errors.TractorError] = None
        self.deadline: Optional[float] = None
        self.cancelling = False
        self.dropped = False  # nobody takes what it is answered with
        self.ends: List["PeerExited"] = []  # told after the descriptors that it was answered with

    def end(self, error: Optional[errors.TractorError], result: Any, fds: List[int]) -> List[int]:
        """The descriptors that nobody takes."""
        self.close_streams()
        self.error, self.result = error, result
        if self.dropped:
            return fds
        self.fds = fds
        return []

    def drop(self, reason: Optional[str] = None) -> None:
        """cancel(), by somebody who does not wait for the answer."""
        self.dropped = True
        self.machine.refuse_fds += self.fds
        self.fds = []
        self.cancel(reason)

    def cancel(self, reason: Optional[str] = None, grace: Optional[float] = None) -> None:
        """Asks the peer to end it; after `grace` seconds it ends here without an answer. Harmless twice."""
        self.machine.cancel(self, reason, grace)

    def _may_send(self) -> None:
        if self.done:
            raise self.error or errors.InvalidRequest("an item after the dialog's end")
        super()._may_send()

    def _overrun(self, overrun: errors.Overrun) -> None:
        self.machine.give_up(self, overrun, "overrun")


class Handed:
    """Calls that were answered with descriptors, as long as somebody holds them to make portals of those: what is told meanwhile
    of the ends of actors may be about theirs."""

    def __init__(self) -> None:
        self._calls: "weakref.WeakSet[Call]" = weakref.WeakSet()

    def note(self, call: Call) -> None:
        if call.fds:
            self._calls.add(call)

    def tell(self, end: "PeerExited") -> "PeerExited":
        for call in self._calls:
            call.ends.append(end)
        return end


class Served(Conversation):
    """A question of theirs: `params` with the descriptors `fds`, to be answered once, by respond() or fail()."""

    def __init__(self, machine: "Machine", ident: Id, method: str, params: Any, meta: Dict[str, Any], fds: List[int]):
        super().__init__(machine, ident, method, meta.get("ctx") is True)
        self.params = params
        self.meta = meta
        self.fds = fds
        self.cancelled: Optional[errors.TractorError] = None
        self._result: Optional[Tuple[Any, List[int]]] = None

    def start(self, value: Any = None, window: int = WINDOW, overrun: str = "wait") -> None:
        """Accepts the dialog: the opener's open returns `value`. Once, and before anything else."""
        if not self.dialog:
            raise errors.InvalidRequest(f"{self.method} was called, not opened: it can't be started")
        if self.started:
            raise errors.InvalidRequest("started was said twice")
        self._may_answer()
        self.incoming = Incoming(window, overrun)
        params = {"id": self.id, "value": value, "credit": window, "overrun": overrun}
        self.machine.frame("$/started", params)
        self.started = True

    def respond(self, result: Any = None, fds: Sequence[int] = ()) -> None:
        """Ends it well, after its last item. The descriptors are closed once sent."""
        self._may_answer()
        if self.dialog and not self.started:
            raise errors.InvalidRequest("a dialog ends with a result and was never started")
        self._text(result)
        self._result = (result, list(fds))
        if self.out.stopped:
            self._drained()
        else:
            self.out.stopping = True
            self._flush()

    def fail(self, error: BaseException) -> None:
        """Ends it with an error."""
        if self.done:
            return
        wrapped = errors.from_exception(error)
        if isinstance(wrapped, errors.Cancelled) and self.cancelled is not None:
            wrapped = self.cancelled
        self.machine.answer(self, {"error": wrapped.to_object()}, [])

    def _may_send(self) -> None:
        if self.done:
            raise self.cancelled or errors.InvalidRequest("an item after the dialog's end")
        super()._may_send()

    def _may_answer(self) -> None:
        if self.done or self._result is not None:
            raise self.cancelled or errors.InvalidRequest("answered twice")

    def cancel(self, canceller: Optional[str], reason: Optional[str]) -> bool:
        """The opener wants it ended. False: it had been already, or a result that waits for credit goes out now."""
        if self.done or self.cancelled is not None:
            return False
        data = {"type": "Cancelled", "canceller": canceller, "reason": reason}
        message = f"cancelled: {reason}" if reason else "cancelled"
        self.cancelled = errors.Cancelled(message, {k: v for k, v in data.items() if v is not None})
        if self._result is not None:
            self.out.queue.clear()
            self._flush()
            return False
        return True

    def _drained(self) -> None:
        if self._result is None:
            super()._drained()
        else:
            result, fds = self._result
            self.machine.answer(self, {"result": result}, fds)

    def _overrun(self, overrun: errors.Overrun) -> None:
        self.fail(overrun)
