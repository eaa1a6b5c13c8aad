# SPDX-License-Identifier: Apache-2.0
"""Methods that a program serves, by name."""

from __future__ import annotations

import functools
import inspect
import re
from typing import Any, Callable, Dict, List, Optional, Union

from .errors import InvalidParams, InvalidRequest, MethodNotFound

METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*\Z")
Handler = Callable[..., Any]


_signature = functools.lru_cache(maxsize=None)(inspect.signature)


class Handlers:
    """A table of handlers, filled by decorators: `@handlers.method` or `@handlers.method("another.name")`.

    A handler gets the members of an object as keyword arguments, the items of an array as positional ones."""

    def __init__(self) -> None:
        self._methods: Dict[str, Handler] = {}
        self._dialogs: Dict[str, Handler] = {}

    def method(self, name: Union[str, Handler, None] = None) -> Any:
        """Registers a function that answers calls."""
        return self._register(self._methods, name)

    def _register(self, table: Dict[str, Handler], name: Union[str, Handler, None]) -> Any:
        def register(handler: Handler, as_name: Optional[str] = None) -> Handler:
            as_name = as_name or handler.__name__
            if not METHOD.match(as_name):
                raise ValueError(f"{as_name!r} is no name for a method")
            if as_name in self._methods or as_name in self._dialogs:
                raise ValueError(f"{as_name} is registered twice")
            table[as_name] = handler
            return handler

        if callable(name):
            return register(name)
        return lambda handler: register(handler, name)

    def names(self) -> List[str]:
        """What is served."""
        return sorted([*self._methods, *self._dialogs])

    def bind(self, method: str, params: Any, *before: Any, dialog: bool = False) -> Callable[[], Any]:
        """The handler with its arguments. Raises what the asker is to be told."""
        table, other = (self._dialogs, self._methods) if dialog else (self._methods, self._dialogs)
        handler = table.get(method)
        if handler is None and method in other:
            raise InvalidRequest(f"{method} is " + ("no dialog: call it" if dialog else "a dialog: open it with ctx"))
        if handler is None:
            raise MethodNotFound(f"no method {method!r}", {"type": "MethodNotFound"})
        args = [*before, *(params if isinstance(params, list) else [])]
        kwargs = params if isinstance(params, dict) else {}
        try:
            _signature(handler).bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidParams(f"{method}: {error}") from None
        found = handler
        return lambda: found(*args, **kwargs)
