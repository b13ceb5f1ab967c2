"""What the registry does not know."""

from milepost.errors.root import ConfigurationError


class UnknownJobTypeError(ConfigurationError):
    """No job type and no durable task of that name is registered.

    Args:
        job_type: the name.
        near: the registered names that are like it.
    """

    def __init__(self, job_type: str, *near: str) -> None:
        super().__init__(job_type, *near)
        self.job_type, self.near = job_type, near

    def __str__(self) -> str:
        hint = (
            f"did you mean {' or '.join(map(repr, self.near))}?"
            if self.near
            else "`celery -A proj jobs types` lists those that are; is its module imported?"
        )
        return f"no job type or durable task {self.job_type!r} is registered: {hint}"
