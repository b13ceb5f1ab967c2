"""What kind of work a job is: the name that callers use, and what is known of its task."""

from dataclasses import dataclass
from typing import Any

from milepost.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class JobType:
    """One kind of job.

    Attributes:
        name: what callers say: ``shop.import``. It outlives the module its task is in.
        task: the registered name of the Celery task.
        queue: where its jobs are sent. None: where Celery routes the task.
        input_model: pydantic model that the payload has to fit. None: any payload.
        permissions: what a role must be entitled to beside the act itself, as the policy
            in use has it.
        checkpoint_version: the task's; None in a declaration, where the task says it.
        description: one line for people.
        owner: the plugin or package that brings it.
    """

    name: str
    task: str
    queue: str | None = None
    input_model: Any = None
    permissions: tuple[str, ...] = ()
    checkpoint_version: int | None = None
    description: str = ""
    owner: str = ""

    def __post_init__(self) -> None:
        for field in ("name", "task"):
            value = getattr(self, field)
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"job type: {field} = {value!r}: it must be a name")
        given: Any = self.permissions
        if not isinstance(given, tuple) or not all(isinstance(one, str) for one in given):
            raise ConfigurationError(
                f"job type {self.name!r}: permissions = {given!r}: a tuple of names"
            )
        if not (self.input_model is None or hasattr(self.input_model, "model_validate_json")):
            raise ConfigurationError(
                f"job type {self.name!r}: input_model = {self.input_model!r}: a pydantic model"
            )
