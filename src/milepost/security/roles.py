"""A policy in a table: roles, what each may do to which job types, and who has them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from milepost.errors import ConfigurationError
from milepost.jobtype import JobType
from milepost.model import Job
from milepost.security.permissions import Action, Decision, Principal

ALL = "*"


@dataclass(frozen=True, slots=True)
class Role:
    """What a role may do.

    Attributes:
        actions: each one of :class:`~milepost.security.permissions.Action`, or ``*``.
        job_types: patterns of names, as in file names: ``shop.*``. Only ``*`` itself covers
            what is asked for jobs of all types.
        permissions: what it is entitled to beside, for job types that want that.

    Raises:
        ConfigurationError: an action does not exist.
    """

    actions: Collection[str]
    job_types: Collection[str] = (ALL,)
    permissions: Collection[str] = ()

    def __post_init__(self) -> None:
        for name in ("actions", "job_types", "permissions"):
            if isinstance(getattr(self, name), str):
                raise ConfigurationError(f"Role: {name} = {getattr(self, name)!r}: not one text")
        unknown = sorted(set(self.actions) - {ALL, *Action})
        if unknown:
            raise ConfigurationError(
                f"Role: no action {unknown[0]!r}; there are {ALL}, {', '.join(Action)}"
            )

    def covers(self, action: Action, job_type: JobType | None) -> bool:
        """Whether it may do *action* to such jobs, entitlements aside."""
        if ALL not in self.actions and action not in self.actions:
            return False
        if job_type is None:
            return ALL in self.job_types
        return any(fnmatchcase(job_type.name, pattern) for pattern in self.job_types)


@dataclass(frozen=True, slots=True)
class RoleTable:
    """A policy: whoever has a role may do what the role may.

    Attributes:
        roles: role → what it may do.
        members: role → who has it: patterns of names (``ann``, ``*@ops1``). A principal may
            bring roles of its own as well.

    Raises:
        ConfigurationError: members of a role that is not in the table.
    """

    roles: Mapping[str, Role]
    members: Mapping[str, Collection[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.members) - set(self.roles))
        if unknown:
            raise ConfigurationError(
                f"RoleTable: members of {unknown[0]!r}, which is none of its roles: "
                f"{', '.join(self.roles)}"
            )
        for role, names in self.members.items():
            if isinstance(names, str):
                raise ConfigurationError(f"RoleTable: members of {role!r}: a list of names")

    def may(
        self,
        principal: Principal,
        action: Action,
        job_type: JobType | None,
        job: Job | None,  # noqa: ARG002  (a table of names does not look at the job)
    ) -> Decision:
        """Allow it if a role of the principal's covers it and has what the job type wants."""
        if not principal.name:
            return Decision(False, "nobody has said who asks")
        held = self._roles_of(principal)
        if not held:
            return Decision(False, "no role")
        wanted = set(() if job_type is None else job_type.permissions)
        missing: set[str] = set()
        for name in held:
            role = self.roles[name]
            if not role.covers(action, job_type):
                continue
            missing = wanted - set(role.permissions)
            if not missing:
                return Decision(True, f"role {name}")
        if missing:
            return Decision(False, f"it wants {', '.join(sorted(missing))}")
        return Decision(False, f"not within {', '.join(held)}")

    def _roles_of(self, principal: Principal) -> list[str]:
        return [
            role
            for role in self.roles
            if role in principal.roles
            or any(fnmatchcase(principal.name, who) for who in self.members.get(role, ()))
        ]
