"""The local page: what the terminal says, to be seen from across the room; this machine only, no network."""

import json
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from threading import Thread
from typing import Any

from edge_pigment import errors as texts
from edge_pigment.errors import InputError

ADDRESS = "127.0.0.1"
_PAGE = "page.html"


def serve(history: Callable[[], Sequence[Mapping[str, Any]]], target: float, port: int) -> ThreadingHTTPServer:
    """Serve the page in a thread until the process ends or `shutdown` is called.

    Args:
        history: gives every update so far, as `Update.as_dict`.
        target: sd of FA.
        port: 0 for any that is free.

    Raises:
        InputError: the port is taken.
    """
    from edge_pigment.outputs.write import plain

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._answer((resources.files(__package__) / _PAGE).read_text("utf-8"), "text/html; charset=utf-8")
            elif self.path == "/state.json":
                state = plain({"target": target, "history": list(history())})
                self._answer(json.dumps(state, allow_nan=False), "application/json")
            else:
                self.send_error(404)

        def _answer(self, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """The terminal is for the operator."""

    try:
        server = ThreadingHTTPServer((ADDRESS, port), Handler)
    except OSError as error:
        raise InputError(texts.WATCH_PORT.format(port=port, why=error.strerror or error)) from error
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    return server
