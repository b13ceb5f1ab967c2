"""An HTTP server on loopback that answers as a test's script says, or does not answer."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

STALL = "stall"
"""Instead of a status: say nothing until the server ends."""
HANG_UP = "hang up"
"""Instead of a status: close the connection without a word."""


class Seen(NamedTuple):
    """One request that arrived."""

    method: str
    path: str
    headers: dict
    body: bytes


class FaultyServer:
    """Answers each request with the next line of its script, and with 200 after its end.

    Attributes:
        script: statuses still to give, or ``(status, headers)``, STALL or HANG_UP.
        seen: the requests so far.
    """

    def __init__(self):
        self.script = []
        self.seen = []
        self._over = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                server.answer(self)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers.get("content-length") or 0))
        with self._lock:
            self.seen.append(Seen(handler.command, handler.path, dict(handler.headers), body))
            line = self.script.pop(0) if self.script else 200
        if line in (STALL, HANG_UP):
            if line == STALL:
                self._over.wait(60)
            handler.close_connection = True
            return
        status, headers = line if isinstance(line, tuple) else (line, {})
        text = f"answer {len(self.seen)}".encode()
        handler.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(text)

    def stop(self):
        self._over.set()
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def faulty_server():
    """Run a server for the length of a block."""
    server = FaultyServer()
    try:
        yield server
    finally:
        server.stop()
