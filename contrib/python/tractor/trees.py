# SPDX-License-Identifier: Apache-2.0
"""Parameters and results of the supervisor's methods, for both faces."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from .wire import LineError, decode

Tree = Dict[str, Any]
Node = Dict[str, Any]
# How a supervisor may say in its status that it remembers the answers to requests with a key.
KEY_FEATURES = {"key", "keys"}
# What a control request with a key is, once the connection it was asked on has gone: repeated, for so long.
RECONNECT_TIME = 10.0


@dataclass(frozen=True)
class Spawned:
    """A started actor. `fds` are the descriptors asked for with `want`, by name; they are the caller's to close."""

    path: str
    id: str
    pid: Optional[int]
    unit: Optional[str]
    cgroup: Optional[str]
    fds: Dict[str, int]

    @classmethod
    def from_result(cls, result: Dict[str, Any], want: List[str], fds: List[int]) -> "Spawned":
        known = {k: result.get(k) for k in ("path", "id", "pid", "unit", "cgroup")}
        return cls(fds=dict(zip(want, fds)), **known)  # type: ignore[arg-type]


def given(**params: Any) -> Dict[str, Any]:
    """Those parameters that are not None."""
    return {k: v for k, v in params.items() if v is not None}


def new_key() -> str:
    """A key that no other request has."""
    return uuid.uuid4().hex


def milliseconds(seconds: Optional[float]) -> Optional[int]:
    return None if seconds is None else round(seconds * 1000)


def read_tree(path: str) -> Tree:
    """A tree file, ready to be loaded: an actor without `cwd` starts in the directory of the file."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        tree = decode(b" ".join(data.splitlines()))
    except LineError as error:
        try:
            json.loads(data)
        except ValueError as plain:  # says where
            error = LineError(str(plain))
        raise ValueError(f"{path}: {error}") from None
    _set_cwd(tree, os.path.dirname(os.path.abspath(path)))
    return tree  # type: ignore[no-any-return]


def _set_cwd(node: Any, cwd: str) -> None:
    if not isinstance(node, dict):
        return
    if "exec" in node:
        node.setdefault("cwd", cwd)
    children = node.get("children")
    for child in children if isinstance(children, list) else []:
        _set_cwd(child, cwd)


def cut_nodes(node: Node) -> List[Node]:
    """Those nodes of a reply whose children did not all fit."""
    found = [node] if node.get("more") else []
    for child in node.get("children") or []:
        found += cut_nodes(child)
    return found


def actors(node: Node) -> List[Node]:
    """All actors of a tree as tree() returns it."""
    if node.get("kind") == "actor":
        return [node]
    return [actor for child in node.get("children") or [] for actor in actors(child)]
