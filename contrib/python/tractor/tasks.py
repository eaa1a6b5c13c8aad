# SPDX-License-Identifier: Apache-2.0
"""What the tasks of this program do, for `$/tasks` and so for `tractorctl tasks`.

A task is parked where the innermost coroutine it awaits is; what that is called is what the task waits for. The stack is
read from the chain of awaits, which a suspended task keeps and the interpreter does not print."""

from __future__ import annotations

import asyncio
import itertools
import os
import weakref
from types import FrameType
from typing import Any, Dict, List, Optional, Tuple

TASKS_MAX = 1000
FRAMES_MAX = 32

Task = "asyncio.Task[Any]"
_ids: "weakref.WeakKeyDictionary[asyncio.Task[Any], int]" = weakref.WeakKeyDictionary()
_next = itertools.count(1)
owners: "weakref.WeakKeyDictionary[asyncio.Task[Any], asyncio.Task[Any]]" = weakref.WeakKeyDictionary()
"""The task whose nursery a task is in."""


def describe() -> List[Dict[str, Any]]:
    """All tasks of the running loop, in the protocol's words."""
    running = asyncio.current_task()
    tasks = sorted((t for t in asyncio.all_tasks()), key=ident)
    found = [_describe(task, task is running) for task in tasks[:TASKS_MAX]]
    if len(tasks) > TASKS_MAX:
        found.append({"name": f"({len(tasks) - TASKS_MAX} more)", "more": len(tasks) - TASKS_MAX})
    return found


def ident(task: "asyncio.Task[Any]") -> int:
    """A number for a task, from 1."""
    if task not in _ids:
        _ids[task] = next(_next)
    return _ids[task]


def _describe(task: "asyncio.Task[Any]", running: bool) -> Dict[str, Any]:
    waits_for = getattr(task, "_fut_waiter", None)
    frames, last = _frames(task.get_coro())
    state = "running" if running else "ready" if waits_for is None else "parked"
    owner = owners.get(task)
    return {"id": ident(task), "name": task.get_name(), "state": state,
            "wait": _wait(waits_for, last) if state == "parked" else None,
            "nursery": ident(owner) if owner is not None and not owner.done() else None,
            "stack": [f"#{i} {frame}" for i, frame in enumerate(reversed(frames[-FRAMES_MAX:]))]}


def _frames(awaited: Any) -> Tuple[List[str], Optional[str]]:
    """The frames from the outermost inwards, and the name of the innermost coroutine."""
    frames: List[str] = []
    last: Optional[str] = None
    while awaited is not None:
        frame: Optional[FrameType] = None
        inner = None
        for prefix in ("cr", "gi", "ag"):
            if hasattr(awaited, prefix + "_frame"):
                frame = getattr(awaited, prefix + "_frame")
                inner = getattr(awaited, "gi_yieldfrom" if prefix == "gi" else prefix + "_await")
                break
        if frame is None:
            break
        last = frame.f_code.co_qualname
        frames.append(f"{last} ({os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno})")
        awaited = inner
    return frames, last


def _wait(waits_for: Any, last: Optional[str]) -> str:
    if isinstance(waits_for, asyncio.Task):
        return f"task {waits_for.get_name()}"
    return last or type(waits_for).__name__
