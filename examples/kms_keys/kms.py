"""A client of a key management service: it wraps secrets, and unwraps them again."""

import urllib.request


class Kms:
    """The service at a URL.

    Args:
        url: where it is.
        token: what it lets us in by.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    def wrap(self, secret: bytes) -> bytes:
        """Return a secret as only the service can read it."""
        return self._ask("wrap", secret)

    def unwrap(self, wrapped: bytes) -> bytes:
        """Return the secret that was wrapped."""
        return self._ask("unwrap", wrapped)

    def _ask(self, verb: str, data: bytes) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}"}
        request = urllib.request.Request(f"{self._url}/{verb}", data, headers)
        with urllib.request.urlopen(request, timeout=5.0) as reply:
            answer: bytes = reply.read()
        return answer
