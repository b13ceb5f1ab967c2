"""Who may do what to jobs, and what jobs may be given."""

from milepost.face import face

_HOMES = {
    "permissions": ("ALL_ALLOWED", "Permissions", "Policy"),
    "validation": ("check_input", "limits_of", "told", "unknown_fields"),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
