from milepost.security.permissions import ALL_ALLOWED, Permissions, Policy
from milepost.security.validation import (
    check_input,
    limits_of,
    told,
    unknown_fields,
)

__all__ = [
    "ALL_ALLOWED",
    "Permissions",
    "Policy",
    "check_input",
    "limits_of",
    "told",
    "unknown_fields",
]
