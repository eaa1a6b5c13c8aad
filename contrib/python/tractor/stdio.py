# SPDX-License-Identifier: Apache-2.0
"""A program that serves newline-delimited JSON-RPC 2.0 on standard input and output (`"channel": "stdio"`).

    from tractor.stdio import Server

    server = Server()

    @server.method
    def add(a, b):
        return a + b

    server.run()

It ends at the end of its input. What the program prints goes to standard error, since standard output is the protocol's."""

from __future__ import annotations

import os
import sys
from typing import Any, BinaryIO, Dict, Optional

from . import errors
from .handlers import Handlers
from .message import invalid
from .wire import MAX_LINE, LineError, decode, encode


class Server(Handlers):
    """Serves its methods, one request after the other."""

    def __init__(self) -> None:
        super().__init__()
        self._out: Optional[BinaryIO] = None

    def run(self) -> None:
        """Serves standard input until its end."""
        out = os.fdopen(os.dup(1), "wb")
        sys.stdout.flush()
        os.dup2(2, 1)
        self.serve(sys.stdin.buffer, out)

    def serve(self, source: BinaryIO, target: BinaryIO) -> None:
        """Serves any two byte streams."""
        self._out = target
        while True:
            line = source.readline(MAX_LINE + 2)
            if not line:
                break
            if len(line.rstrip(b"\r\n")) > MAX_LINE:
                self._say(None, error=errors.ParseError(f"a line is longer than {MAX_LINE} bytes"))
                break
            if line.strip():
                self._line(line)

    def notify(self, method: str, params: Any = None) -> None:
        """Says something that nobody asked for."""
        self._write({"jsonrpc": "2.0", "method": method, **({} if params is None else {"params": params})})

    def _line(self, line: bytes) -> None:
        try:
            message = decode(line)
        except LineError as error:
            self._say(None, error=errors.ParseError(str(error)))
            return
        problem = invalid(message)
        if problem:
            self._say(None, error=errors.InvalidRequest(problem))
        elif "method" in message and not message["method"].startswith("$/"):
            self._serve(message)
        elif "method" in message and "id" in message:
            known = message["method"] == "$/methods"
            refusal = None if known else errors.MethodNotFound(f"no method {message['method']!r}")
            self._say(message["id"], self.names(), refusal)

    def _serve(self, message: Dict[str, Any]) -> None:
        result, failure = None, None
        try:
            result = self.bind(message["method"], message.get("params"))()
        except Exception as error:  # of the handler's: its asker is told
            failure = errors.from_exception(error)
        if "id" in message:
            self._say(message["id"], result, failure)

    def _say(self, ident: Any, result: Any = None, error: Optional[errors.TractorError] = None) -> None:
        outcome = {"error": error.to_object()} if error else {"result": result}
        try:
            self._write({"jsonrpc": "2.0", "id": ident, **outcome})
        except LineError as problem:
            self._say(ident, error=errors.InternalError(f"the answer can't be sent: {problem}"))

    def _write(self, message: Dict[str, Any]) -> None:
        assert self._out is not None, "the server does not run"
        self._out.write(encode(message))
        self._out.flush()
