# SPDX-License-Identifier: Apache-2.0
"""Which JSON values are messages, and a few questions about their parts."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

from .dialog import POLICIES, Id


def key(ident: Id) -> Tuple[bool, Id]:
    """What an id is found by: "1" and 1 are two."""
    return isinstance(ident, str), ident


def natural(value: Any) -> bool:
    """Whether this is a whole number from 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def count(value: Any) -> int:
    """A number of descriptors, 0 for what is none."""
    return int(value) if natural(value) else 0


def invalid(message: Any) -> Optional[str]:
    """What keeps this value from being a request, a response or a notification."""
    if not isinstance(message, dict):
        return "a message is an object"
    if message.get("jsonrpc") != "2.0":
        return "jsonrpc must be \"2.0\""
    if not isinstance(message.get("$", {}), dict):
        return "$ must be an object"
    ident = message.get("id")
    if isinstance(ident, bool) or not isinstance(ident, (int, float, str, type(None))):
        return "an id is a string or a number"
    if "method" in message:
        if not isinstance(message["method"], str) or "result" in message or "error" in message:
            return "neither a request nor a response"
        if "id" in message and ident is None:
            return "an id is a string or a number"
        return None if isinstance(message.get("params", {}), (dict, list)) else "params must be an object or an array"
    if "id" not in message or ("result" in message) == ("error" in message):
        return "neither a request, a response nor a notification"
    if "error" in message:
        return None if isinstance(message["error"], dict) else "an error is an object"
    return None if ident is not None else "a result needs an id"


def bad_id(ident: Id, dialog: bool, parity: int, last: int) -> Optional[str]:
    """What keeps a request from being opened under this id. `parity` is that of our own ids, `last` the peer's highest."""
    if dialog and (isinstance(ident, bool) or not isinstance(ident, int) or ident % 2 == parity or ident <= last):
        return f"no dialog can be opened under the id {ident!r}"
    return None


def bad_meta(meta: Dict[str, Any]) -> Optional[str]:
    """What is wrong with a request's `$`; keys that nobody knows are none of our business."""
    if not natural(meta.get("credit", 0)) or not natural(meta.get("deadline_ms", 0)):
        return "credit and deadline_ms are whole numbers from 0"
    if meta.get("overrun", "wait") not in POLICIES:
        return f"overrun is one of {', '.join(POLICIES)}"
    return None
