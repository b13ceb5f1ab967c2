"""How a call to somebody else's HTTP service can fail."""

from milepost.errors.root import MilepostError


class ServiceError(MilepostError):
    """A call to an external service failed."""


class ServiceUnreachableError(ServiceError):
    """No answer came.

    Args:
        service: the client's name.
        request: method and path.
        problem: what the HTTP library said.
        may_have_arrived: whether the service may have got the request, and acted on it.
    """

    def __init__(self, service: str, request: str, problem: str, may_have_arrived: bool) -> None:
        super().__init__(service, request, problem, may_have_arrived)
        self.service, self.request, self.problem = service, request, problem
        self.may_have_arrived = may_have_arrived

    def __str__(self) -> str:
        return f"{self.service}: {self.request}: no answer: {self.problem}"


class ServiceResponseError(ServiceError):
    """The service answered with a status of 400 or above.

    Args:
        service: the client's name.
        request: method and path.
        status_code: the HTTP status.
        text: the beginning of the answer's body.
        retry_after: seconds the service asks to stay away; None: it says nothing.
    """

    def __init__(
        self, service: str, request: str, status_code: int, text: str, retry_after: float | None
    ) -> None:
        super().__init__(service, request, status_code, text, retry_after)
        self.service, self.request, self.status_code = service, request, status_code
        self.text, self.retry_after = text, retry_after

    def __str__(self) -> str:
        return f"{self.service}: {self.request}: status {self.status_code}: {self.text}"
