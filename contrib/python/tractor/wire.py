# SPDX-License-Identifier: Apache-2.0
"""Lines of JSON, and the descriptors that travel with them.

A Splitter turns what arrives (bytes, and descriptors with the bytes they came with) into lines. A line is checked as
strictly as the protocol wants it and as Python's decoder does not: duplicate and NUL keys, NaN, integers beyond 64 bits, lone
surrogates, depth and number of values are all errors. What we send is checked by the same rules, since a line that the
other side can't read is never answered."""

from __future__ import annotations

import json
import re
from collections import deque
from typing import Any, Deque, Dict, Iterator, List, Optional, Sequence, Tuple

MAX_LINE = 1 << 20
MAX_LINE_CHANNEL = 128 << 10
MAX_LINE_EVER = 64 << 20
MAX_VALUES = 65536
MAX_VALUES_CHANNEL = 4096
MAX_DEPTH = 64
MAX_FDS = 16
MAX_FDS_QUEUED = 32
INT64_MIN, INT64_MAX = -(1 << 63), (1 << 63) - 1


class LineError(ValueError):
    """This line is not as it should be; the next one may be."""


class StreamError(Exception):
    """The connection can't go on. `code` is that of the last error to send."""

    def __init__(self, code: int, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def _pairs(pairs: List[Tuple[str, Any]]) -> Dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise LineError("a key comes twice")
    for key in found:
        if "\0" in key:
            raise LineError("NUL in a key")
    return found


def _integer(digits: str) -> int:
    # Compared by length first: converting a very long string of digits takes quadratic time.
    if len(digits) > 20 or not INT64_MIN <= int(digits) <= INT64_MAX:
        raise LineError("an integer beyond 64 bits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise LineError("a number out of range")
    return value


def _constant(name: str) -> Any:
    raise LineError(f"{name} is no JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
)
_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# Of one value after the other: encode() makes the machine behind it anew each time. Nobody else holds what check() has walked.
_make_encoder = getattr(json.encoder, "c_make_encoder", None)
_quote = getattr(json.encoder, "encode_basestring", None)
_chunks = _make_encoder and _make_encoder(None, _encoder.default, _quote, None, ":", ",", False, False, False)


def _encode(value: Any) -> str:
    return "".join(_chunks(value, 0)) if _chunks else _encoder.encode(value)


def check(value: Any, max_values: int = MAX_VALUES, max_depth: int = MAX_DEPTH) -> None:
    """Raises LineError for what may not stand in a line."""
    if isinstance(value, str):
        return
    count, todo = 0, [(value, 1)]
    while todo:
        item, depth = todo.pop()
        count += 1
        if count > max_values:
            raise LineError(f"more than {max_values} values")
        if isinstance(item, (dict, list, tuple)):
            if depth > max_depth:
                raise LineError(f"more than {max_depth} levels deep")
            if isinstance(item, dict):
                for key in item:
                    if not isinstance(key, str) or "\0" in key:
                        raise LineError("a key that is no string, or has a NUL")
                todo.extend((v, depth + 1) for v in item.values())
            else:
                todo.extend((v, depth + 1) for v in item)
        elif isinstance(item, int) and not INT64_MIN <= item <= INT64_MAX:
            raise LineError("an integer beyond 64 bits")


def decode(line: bytes, max_values: int = MAX_VALUES) -> Any:
    """The value of one line. Raises LineError."""
    try:
        value, end = _decoder.raw_decode(words := line.decode("utf-8").strip(" \t\r\n"))
        if end != len(words):
            raise LineError("something follows the value")
        if b"\\u" in line:
            _encode(value).encode("utf-8")
    except RecursionError:
        raise LineError(f"more than {MAX_DEPTH} levels deep") from None
    except LineError:
        raise
    except ValueError as error:
        raise LineError(str(error)) from None
    # The exact walk is only for lines that could break a bound at all.
    if line.count(b"[") + line.count(b"{") > MAX_DEPTH or line.count(b",") >= max_values - MAX_DEPTH:
        check(value, max_values)
    return value


def encode(message: Any, max_line: int = MAX_LINE, max_values: int = MAX_VALUES) -> bytes:
    """One line, its end included. Raises ValueError for what the other side would not accept."""
    return text(message, max_line, max_values) + b"\n"


def text(value: Any, max_size: int = MAX_LINE, max_values: int = MAX_VALUES) -> bytes:
    """A value as it stands in a line. Raises ValueError likewise."""
    check(value, max_values)
    found = _encode(value).encode("utf-8")
    if len(found) > max_size:
        raise LineError(f"{len(found)} bytes, more than the {max_size} that the other side takes")
    return found


_ITEM = re.compile(rb'\{"jsonrpc":"2\.0","method":"\$/next","params":\{"id":([1-9][0-9]{0,17}),"value":(?=.*\}\}\Z)')


def item_line(ident: Any, value: bytes, lost: int) -> bytes:
    """The line of a stream's item, put together from what is encoded already: nothing else is said as often."""
    more = b',"lost":%d' % lost if lost else b""
    return b'{"jsonrpc":"2.0","method":"$/next","params":{"id":%d,"value":%b%b}}\n' % (ident, value, more)


def plain_item(line: bytes) -> Optional[Dict[str, Any]]:
    """The params of an item written as item_line() does it. None: of what is in any way unusual the whole is to be looked at."""
    found = _ITEM.match(line)
    if found is None or len(line) > 4096 or line.count(b"[") + line.count(b"{") > 32:
        return None
    try:
        return {"id": int(found[1]), "value": decode(line[found.end():-2])}
    except LineError:
        return None


class Splitter:
    """What was received, as lines, and its descriptors in order."""

    def __init__(self, max_line: int = MAX_LINE):
        self.max_line = max_line
        self._rest = bytearray()
        self._searched = 0
        self._end = 0  # bytes received
        self._begin = 0  # bytes given out as lines
        # Each set with the position of the last byte of its recv: by then a line must have claimed it.
        self._sets: Deque[Tuple[int, List[int]]] = deque()

    def feed(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Takes what one recv returned; the descriptors are the Splitter's from then on."""
        self._rest += data
        self._end += len(data)
        if fds:
            self._sets.append((self._end, list(fds)))
            if sum(len(s) for _, s in self._sets) > MAX_FDS_QUEUED:
                raise StreamError(-32600, f"more than {MAX_FDS_QUEUED} descriptors are queued")

    def lines(self) -> Iterator[bytes]:
        """Complete lines, without their ends; empty ones are left out. Raises StreamError."""
        while True:
            end = self._rest.find(b"\n", self._searched)
            if end < 0:
                self._searched = len(self._rest)
                if len(self._rest) > self.max_line + 1:  # a \r may belong to the end
                    raise StreamError(-32700, f"a line is longer than {self.max_line} bytes")
                return
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            self._searched = 0
            self._begin += end + 1
            if line.endswith(b"\r"):
                line = line[:-1]
            if len(line) > self.max_line:
                raise StreamError(-32700, f"a line is longer than {self.max_line} bytes")
            if line.strip(b" \t"):
                yield line
            self._check_claimed()

    def claim(self, count: int) -> List[int]:
        """The next `count` descriptors. Raises StreamError when fewer have come."""
        if count > MAX_FDS or count > sum(len(s) for _, s in self._sets):
            raise StreamError(-32600, f"{count} descriptors were declared, and fewer came")
        taken: List[int] = []
        while len(taken) < count:
            fds = self._sets[0][1]
            taken.append(fds.pop(0))
            if not fds:
                self._sets.popleft()
        return taken

    def unclaimed(self) -> List[int]:
        """What nobody took, for the one who ends the connection to close."""
        fds = [fd for _, s in self._sets for fd in s]
        self._sets.clear()
        return fds

    def _check_claimed(self) -> None:
        if self._sets and self._sets[0][0] <= self._begin:
            raise StreamError(-32600, "descriptors came that no line declared")


class Chunk:
    """Bytes to send, and the descriptors that go with the first of them."""

    __slots__ = ("data", "fds")

    def __init__(self, data: bytes, fds: Sequence[int] = ()):
        self.data = data
        self.fds = list(fds)


class Output:
    """Lines on their way out. A line with descriptors begins a sendmsg of its own."""

    def __init__(self) -> None:
        self._chunks: Deque[Chunk] = deque()
        self.size = 0

    def put(self, line: bytes, fds: Sequence[int] = ()) -> None:
        self._chunks.append(Chunk(line, fds))
        self.size += len(line)

    def __bool__(self) -> bool:
        return bool(self._chunks)

    def get(self, most: int = 65536) -> Optional[Chunk]:
        """What to send next, in one sendmsg; sent() says how much of it went."""
        if not self._chunks:
            return None
        first = self._chunks.popleft()
        size, parts = len(first.data), [first.data]
        while self._chunks and not self._chunks[0].fds and size < most:
            parts.append(self._chunks.popleft().data)
            size += len(parts[-1])
        first.data = b"".join(parts)
        self._chunks.appendleft(first)
        return first

    def sent(self, count: int) -> List[int]:
        """Takes off what went; returns the descriptors that went with it, for the caller to close."""
        first = self._chunks[0]
        fds, first.fds = first.fds, []
        first.data = first.data[count:]
        self.size -= count
        if not first.data:
            self._chunks.popleft()
        return fds

    def drop(self) -> List[int]:
        """Forgets everything; returns the descriptors, for the caller to close."""
        fds = [fd for chunk in self._chunks for fd in chunk.fds]
        self._chunks.clear()
        self.size = 0
        return fds
