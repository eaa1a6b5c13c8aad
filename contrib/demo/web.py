# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server on a UNIX socket: web.py SOCKET."""
import http.server
import os
import socketserver
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"open for business, says process {os.getpid()}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


# A server that was killed leaves its socket in the way of its successor.
if os.path.exists(sys.argv[1]):
    os.unlink(sys.argv[1])
socketserver.UnixStreamServer(sys.argv[1], Handler).serve_forever()
