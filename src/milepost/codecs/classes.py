"""Classes a value may be of, stored by name: enums, dataclasses, pydantic models, named tuples.

A class is written as ``module:qualname``. Reading finds it again under these rules:

* The module is taken from ``sys.modules``, or imported: a checkpoint must be readable in a
  fresh process. So whoever can write into the store can have a module that is installed
  imported, and nothing more; where that is too much, encrypt (the encrypted codec refuses
  whatever was not written with the key).
* The name is looked up in the ``__dict__`` of the module and of classes only: no
  ``__getattr__``, no property, no function is run.
* What is found must be a class of the kind it was stored as. It is filled without its
  ``__init__`` and without validators, with the values that were stored.
* A field that was added since takes its default. A field that is gone is an error: nothing
  stored is dropped in silence. A class that was moved is found through an alias left under
  its old name.
"""

import dataclasses
import enum
import functools
import importlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from milepost.errors import DecodeError, EncodeError

BUILT_IN = (bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset)
"""Types with content of their own: a subclass cannot be filled from its fields alone."""

_MAINS = frozenset({"__main__", "__mp_main__"})
_NO_DEFAULT = object()


class Kind(Protocol):
    """One kind of class: how its instances come apart and together again."""

    tag: str

    def owns(self, cls: type) -> bool:
        """Return whether *cls* is of this kind."""
        ...

    def parts(self, value: Any) -> tuple[Any, ...]:
        """Return what makes up *value*, its class aside."""
        ...

    def build(self, cls: Any, *parts: Any) -> Any:
        """Return the value that :meth:`parts` took apart."""
        ...


def type_name(cls: type) -> str:
    """Return how messages name a class."""
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__name__}"


def name_of(cls: type) -> str:
    """Return the name *cls* is found again by, or raise EncodeError (with an empty path)."""
    if "<locals>" in cls.__qualname__:
        raise EncodeError(
            "",
            f"the class {type_name(cls)} is defined inside a function, where no other process "
            "finds it: move it to the top level of its module",
        )
    if cls.__module__ in _MAINS:
        raise EncodeError(
            "",
            f"the class {cls.__qualname__} is defined in the script that was started "
            "(__main__), which no other process can import: move it to a module",
        )
    if _look_up(sys.modules.get(cls.__module__), cls.__qualname__) is not cls:
        raise EncodeError(
            "",
            f"the class {type_name(cls)} is not found under its own name (a generic's "
            "parametrised class, or one made at run time): give it a name in its module",
        )
    return f"{cls.__module__}:{cls.__qualname__}"


def find(name: Any, kind: Kind) -> type:
    """Return the class stored as *name*, or raise DecodeError."""
    module_name, qualname = _split(name)
    module = sys.modules.get(module_name) or _import(module_name, name)
    found = _look_up(module, qualname)
    if found is None:
        raise DecodeError(
            f"the class {name} is stored, but not there any more: was it renamed or moved? "
            "Leave an alias under its old name until no job needs it"
        )
    if not kind.owns(found):
        raise DecodeError(f"{name} is stored as {kind.tag}, but the class there is none")
    return found


def _split(name: Any) -> tuple[str, str]:
    module, _, qualname = name.partition(":") if type(name) is str else ("", "", "")
    if module in _MAINS or not all(
        part.isidentifier() for part in (*module.split("."), *qualname.split("."))
    ):
        raise DecodeError("a class is stored under what is not the name of a class: damaged bytes")
    return module, qualname


def _import(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except Exception as exc:
        # A module may raise anything while it loads.
        raise DecodeError(f"the class {name} is stored, but its module does not load") from exc


def _look_up(module: Any, qualname: str) -> type | None:
    found: type | None = None
    place = module
    for part in qualname.split("."):
        found = vars(place).get(part) if place is not None else None
        if not isinstance(found, type):
            return None
        place = found
    return found


def kind_of(cls: type) -> Kind | None:
    """Return the kind *cls* is of, or None."""
    return next((kind for kind in KINDS.values() if kind.owns(cls)), None)


class EnumKind:
    """Members by name; a combination of flags, which has no name of its own, by value."""

    tag = "enum"

    def owns(self, cls: type) -> bool:
        return issubclass(cls, enum.Enum)

    def parts(self, value: Any) -> tuple[Any, ...]:
        if type(value).__members__.get(value.name) is value:
            return (value.name,)
        if isinstance(value, enum.Flag) and type(value.value) is int:
            return (value.value,)
        raise EncodeError("", f"{type_name(type(value))}: not one of the members of this enum")

    def build(self, cls: Any, *parts: Any) -> Any:
        (part,) = parts
        if type(part) is int and issubclass(cls, enum.Flag):
            return cls(part)
        if part not in cls.__members__:
            raise DecodeError(f"{type_name(cls)} has no member {part!r} any more: was it renamed?")
        return cls.__members__[part]


class DataclassKind:
    """Dataclasses, frozen and slotted ones too, by their fields."""

    tag = "dataclass"

    def owns(self, cls: type) -> bool:
        # A plain subclass of a dataclass inherits the mark, and may keep more than the fields.
        return "__dataclass_fields__" in vars(cls) and not issubclass(
            cls, (*BUILT_IN, BaseException)
        )

    def parts(self, value: Any) -> tuple[Any, ...]:
        names = [field.name for field in dataclasses.fields(value)]
        _refuse_strays(value, names)
        return ({name: _attribute(value, name) for name in names},)

    def build(self, cls: Any, *parts: Any) -> Any:
        (stored,) = parts
        value = object.__new__(cls)
        for name, item in _completed(cls, self._defaults(cls), stored).items():
            object.__setattr__(value, name, item)
        return value

    def _defaults(self, cls: Any) -> dict[str, Any]:
        return {field.name: self._default(field) for field in dataclasses.fields(cls)}

    def _default(self, field: dataclasses.Field[Any]) -> Any:
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory
        if field.default is not dataclasses.MISSING:
            return lambda: field.default
        return _NO_DEFAULT


class NamedTupleKind:
    """Named tuples by their fields."""

    tag = "namedtuple"

    def owns(self, cls: type) -> bool:
        return issubclass(cls, tuple) and type(getattr(cls, "_fields", None)) is tuple

    def parts(self, value: Any) -> tuple[Any, ...]:
        _refuse_strays(value, ())
        return (dict(zip(value._fields, value, strict=True)),)

    def build(self, cls: Any, *parts: Any) -> Any:
        (stored,) = parts
        given = getattr(cls, "_field_defaults", {})
        defaults = {
            name: functools.partial(given.get, name) if name in given else _NO_DEFAULT
            for name in cls._fields
        }
        fields = _completed(cls, defaults, stored)
        return tuple.__new__(cls, [fields[name] for name in cls._fields])


class ModelKind:
    """pydantic models by their state: fields, extra and private values, and which were set."""

    tag = "model"

    def owns(self, cls: type) -> bool:
        base = _base_model()
        return base is not None and cls is not base and issubclass(cls, base)

    def parts(self, value: Any) -> tuple[Any, ...]:
        names = type(value).model_fields
        fields = {name: vars(value)[name] for name in names if name in vars(value)}
        if len(fields) < len(names):
            raise EncodeError("", f"{type_name(type(value))}: some of its fields have no value")
        more = {
            "unset": sorted(names.keys() - value.__pydantic_fields_set__),
            "extra": value.__pydantic_extra__,
            "private": value.__pydantic_private__,
        }
        more = {name: part for name, part in more.items() if part}
        return (fields, more) if more else (fields,)

    def build(self, cls: Any, *parts: Any) -> Any:
        stored, more = parts if len(parts) == 2 else (*parts, {})
        extra = more.get("extra") or {}
        fields = _completed(cls, self._defaults(cls.model_fields), stored)
        private = _completed(
            cls, self._defaults(cls.__private_attributes__), more.get("private") or {}, lenient=True
        )
        value = object.__new__(cls)
        state = {
            "__dict__": fields,
            "__pydantic_fields_set__": (stored.keys() | extra.keys()) - set(more.get("unset", ())),
            "__pydantic_extra__": extra if cls.model_config.get("extra") == "allow" else None,
            "__pydantic_private__": private if cls.__private_attributes__ else None,
        }
        _base_model().__setstate__(value, state)
        return value

    def _defaults(self, declared: Mapping[str, Any]) -> dict[str, Any]:
        return {name: self._default(field) for name, field in declared.items()}

    def _default(self, field: Any) -> Any:
        if getattr(field, "default_factory_takes_validated_data", False):
            return _NO_DEFAULT
        if field.default_factory is not None:
            return field.default_factory
        if type(field.default).__name__ == "PydanticUndefinedType":
            return _NO_DEFAULT
        return field.get_default


def _base_model() -> Any:
    # Where pydantic is not loaded nothing can be a model of it; loading it takes longer than
    # the whole of milepost.
    return getattr(sys.modules.get("pydantic.main"), "BaseModel", None)


def _attribute(value: Any, name: str) -> Any:
    try:
        return getattr(value, name)
    except AttributeError:
        pass
    raise EncodeError("", f"the field {name!r} of {type_name(type(value))} has no value")


def _refuse_strays(value: Any, fields: Iterable[str]) -> None:
    """Refuse an instance that keeps more than its fields: it would come back without it."""
    for name in getattr(value, "__dict__", {}).keys() - set(fields):
        declared = getattr(type(value), name, None)
        if isinstance(declared, functools.cached_property) or name == "__orig_class__":
            continue
        raise EncodeError(
            "",
            f"{type_name(type(value))} keeps the attribute {name!r} beside its fields, which "
            "would be lost: make it a field",
        )


def _completed(
    cls: type, defaults: Mapping[str, Any], stored: Any, *, lenient: bool = False
) -> dict[str, Any]:
    """Return the stored fields with defaults for those added since."""
    gone = sorted(stored.keys() - defaults.keys())
    if gone:
        raise DecodeError(
            f"{type_name(cls)} is stored with {', '.join(gone)}, which it has no more: keep "
            "them until no job needs them"
        )
    added = [name for name in defaults if name not in stored]
    missing = [name for name in added if defaults[name] is _NO_DEFAULT]
    if missing and not lenient:
        raise DecodeError(
            f"{type_name(cls)} is stored without {', '.join(missing)}, which it needs: give "
            "them a default until no job needs it"
        )
    return dict(stored) | {name: defaults[name]() for name in added if name not in missing}


KINDS: dict[str, Kind] = {
    kind.tag: kind for kind in (EnumKind(), DataclassKind(), ModelKind(), NamedTupleKind())
}
"""Every kind by its tag; the first that owns a class has it."""
