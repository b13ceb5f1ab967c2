"""A stand-in for a key management service, on a port of this machine."""

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "let-the-shop-in"


class StandIn:
    """Serves ``POST /wrap`` and ``POST /unwrap`` from a thread of its own.

    Attributes:
        asked: the verbs it was asked.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._key = AESGCM(AESGCM.generate_key(256))
        standin = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
                code, answer = standin.answer(self.path.strip("/"), data) if allowed else (403, b"")
                self.send_response(code)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, verb: str, data: bytes) -> tuple[int, bytes]:
        self.asked.append(verb)
        if verb == "wrap":
            nonce = os.urandom(12)
            return 200, nonce + self._key.encrypt(nonce, data, b"")
        try:
            return 200, self._key.decrypt(data[:12], data[12:], b"")
        except (InvalidTag, ValueError):
            return 400, b""

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
