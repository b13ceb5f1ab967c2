"""Flags from any provider that speaks OpenFeature (extra ``flags``)."""

from collections.abc import Mapping
from typing import Any

from milepost import extras
from milepost.errors import MilepostError

UNKNOWN = "FLAG_NOT_FOUND"
NO_PROVIDER = "Passed in default"
"""The variant that a client without a provider answers with."""


class OpenFeatureFlags:
    """Boolean flags of an OpenFeature client; the provider decides for each key itself.

    A flag that the provider does not have is left to the next source.

    Args:
        domain: of the client. None: the default provider's.
        attributes: what else the provider may decide by.

    Raises:
        MissingExtraError: openfeature-sdk is not installed; the message has the pip line.
    """

    name = "openfeature"

    def __init__(
        self, domain: str | None = None, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self._client = extras.load("openfeature.api", "flags").get_client(domain)
        self._context = extras.load("openfeature.evaluation_context", "flags").EvaluationContext
        self._attributes = dict(attributes or {})

    def look(self, flag: str, key: str | None) -> float | None:
        """Return 100 where the provider says yes, 0 where it says no, None if it has no flag.

        Raises:
            MilepostError: the provider failed.
        """
        found = self._client.get_boolean_details(
            flag, False, self._context(targeting_key=key, attributes=self._attributes)
        )
        if found.error_code == UNKNOWN or found.variant == NO_PROVIDER:
            return None
        if found.error_code is not None:
            raise MilepostError(f"{found.error_code}: {found.error_message}")
        return 100.0 if found.value else 0.0
