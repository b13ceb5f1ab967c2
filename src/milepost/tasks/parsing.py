"""Answers as objects: the schema that a model is given, and what comes back of it."""

import functools
import re
from dataclasses import dataclass, replace
from typing import Any

from pydantic import PydanticUserError, TypeAdapter, ValidationError

from milepost.errors import ConfigurationError
from milepost.llm import LLMRequest

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*)\n\s*```\s*\Z", re.DOTALL)
MOST_PROBLEMS = 5


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why an answer does not fit, without any of its text."""

    problem: str


class Shape:
    """What an answer must be.

    Args:
        model: a pydantic model, or any type that pydantic validates.

    Raises:
        ConfigurationError: pydantic cannot make a schema of it.
    """

    def __init__(self, model: Any) -> None:
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(model)
            self.schema = self._adapter.json_schema()
        except PydanticUserError as exc:
            raise ConfigurationError(
                f"response_model={model!r}: pydantic has no schema for it"
            ) from exc

    def parse(self, text: str) -> Any:
        """Return the object in an answer, or a :class:`Misfit`."""
        fenced = _FENCED.match(text)
        try:
            return self._adapter.validate_json(fenced[1] if fenced else text)
        except ValidationError as exc:
            return Misfit(_problem(exc, self.schema))


@functools.lru_cache(maxsize=128)
def shape_of(model: Any) -> Shape:
    """Return the shape that a ``response_model`` stands for."""
    return Shape(model)


def _problem(exc: ValidationError, schema: Any) -> str:
    """Return what is wrong: kinds of error, and names that the schema has itself."""
    known = _names_in(schema)
    said = []
    for error in exc.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(p) if isinstance(p, int) or p in known else "?" for p in error["loc"])
        said.append(f"{error['type']} at {place}" if place else str(error["type"]))
    more = f" and {len(said) - MOST_PROBLEMS} more" if len(said) > MOST_PROBLEMS else ""
    return ", ".join(said[:MOST_PROBLEMS]) + more


def _names_in(schema: Any) -> frozenset[str]:
    if isinstance(schema, dict):
        own = schema.get("properties")
        names = frozenset(own) if isinstance(own, dict) else frozenset()
        return names.union(*map(_names_in, schema.values()))
    if isinstance(schema, list):
        return frozenset[str]().union(*map(_names_in, schema))
    return frozenset()


def repaired(request: LLMRequest, text: str, misfit: Misfit) -> LLMRequest:
    """Return the request that asks for a better answer than *text*."""
    complaint = (
        f"That answer does not fit the schema: {misfit.problem}. "
        "Answer again, with JSON that fits it and nothing else."
    )
    return replace(
        request,
        messages=(
            *request.messages,
            {"role": "assistant", "content": text},
            {"role": "user", "content": complaint},
        ),
    )
