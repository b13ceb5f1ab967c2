"""What every error is, and what is wrong before any job runs."""


class MilepostWarning(UserWarning):
    """Something works, but probably not as meant."""


class MilepostError(Exception):
    """Base of all errors of milepost."""


class ConfigurationError(MilepostError):
    """A setting, an URL or a declaration is wrong."""


class MissingExtraError(ConfigurationError):
    """An optional part is needed that is not installed.

    Args:
        module: what could not be imported.
        extra: the extra of milepost that brings it; empty where milepost itself should have.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(module, extra)
        self.module, self.extra = module, extra

    def __str__(self) -> str:
        wanted = f"'milepost[{self.extra}]'" if self.extra else "milepost"
        return f"{self.module} is not installed. Run: pip install {wanted}"
