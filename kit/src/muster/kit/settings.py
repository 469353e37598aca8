"""Settings: one frozen class per section, from four places, each value with its origin.

What is given directly wins over ``MUSTER_<SECTION>_<FIELD>`` in the environment, that over
``[section] field`` in the TOML file, that over the default. A list in the environment is
separated by commas, or is JSON. Mark a secret as `SecretStr`, and it is never shown.
"""

import difflib
import json
import logging
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, Generic, NamedTuple, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretBytes, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from muster.kit.text import clean

log = logging.getLogger(__name__)

DEFAULT: Final = "default"
GIVEN: Final = "given"
MASK: Final = "********"
_PASSWORD_IN_URL: Final = re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+(?=@)")


class Settings(BaseModel):
    """The base of every section; a field's description is its help."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)


class BadSettingsError(ValueError):
    """A setting that cannot be used; the text names where it is and what is allowed."""


class Loaded(NamedTuple, Generic[S]):
    """The settings of a section, and where each value is from."""

    settings: S
    origins: dict[str, str]


class Row(NamedTuple):
    """One setting, for people."""

    name: str
    value: str
    origin: str
    help: str


class _Found(NamedTuple):
    value: Any
    origin: str


def variable(section: str, field: str) -> str:
    """Return the name of the environment variable of a field."""
    return f"MUSTER_{section}_{field}".upper().replace("-", "_")


def load(
    model: type[S],
    section: str,
    *,
    toml: Path | None = None,
    env: Mapping[str, str] | None = None,
    given: Mapping[str, Any] | None = None,
) -> Loaded[S]:
    """Return the settings of *section*, or raise `BadSettingsError`.

    A *toml* file that does not exist is empty. Unknown keys and variables are warned about.
    """
    environment = os.environ if env is None else env
    names = list(model.model_fields)
    found = _from_toml(toml, section, names)
    found |= _from_environment(environment, section, model)
    for field, value in (given or {}).items():
        found[field] = _Found(value, GIVEN)
    try:
        settings = model.model_validate({name: value for name, (value, _) in found.items()})
    except ValidationError as error:
        wrong = [_complaint(one, model, section, found) for one in error.errors(include_url=False)]
        raise BadSettingsError("\n".join(wrong)) from None  # its own text shows secrets
    return Loaded(settings, {n: found[n].origin if n in found else DEFAULT for n in names})


def read_toml(path: Path) -> dict[str, Any]:
    """Return what the file holds, nothing if there is none, or raise `BadSettingsError`."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadSettingsError(f"{path} cannot be read: {clean(str(error))}") from error


def warn_of_sections(path: Path, known: Iterable[str]) -> None:
    """Warn of tables in the TOML file that no section of Muster has."""
    names = list(known)
    for section in read_toml(path):
        if section not in names:
            log.warning("%s: nothing is called [%s]%s", path, clean(section), _hint(section, names))


def describe(loaded: Loaded[Any], section: str) -> list[Row]:
    """Return every setting of a section with its origin; secrets are masked."""
    model = type(loaded.settings)
    return [
        Row(
            f"{section}.{name}",
            _shown(getattr(loaded.settings, name)),
            loaded.origins[name],
            info.description or "",
        )
        for name, info in model.model_fields.items()
    ]


def _from_toml(path: Path | None, section: str, names: list[str]) -> dict[str, _Found]:
    table = read_toml(path).get(section, {}) if path else {}
    if not isinstance(table, dict):
        raise BadSettingsError(f"{path}: {section} must be a table: [{section}]")
    found = {}
    for key, value in table.items():
        if key in names:
            found[key] = _Found(value, f"{path} [{section}] {key}")
        else:
            log.warning(
                "%s: [%s] has no setting %s%s", path, section, clean(key), _hint(key, names)
            )
    return found


def _from_environment(
    env: Mapping[str, str], section: str, model: type[BaseModel]
) -> dict[str, _Found]:
    fields = {variable(section, name): name for name in model.model_fields}
    prefix = variable(section, "")
    found = {}
    for key, text in env.items():
        if key in fields:
            name = fields[key]
            found[name] = _Found(_from_text(text, model.model_fields[name]), key)
        elif key.startswith(prefix):
            tails = [name.removeprefix(prefix) for name in fields]
            hint = _hint(key.removeprefix(prefix), tails, prefix)
            log.warning("there is no setting %s%s", clean(key), hint)
    return found


def _from_text(text: str, info: FieldInfo) -> Any:
    if _is_collection(info.annotation):
        if text.lstrip().startswith(("[", "{")):
            try:
                return json.loads(text)
            except ValueError:
                return text
        return [part.strip() for part in text.split(",") if part.strip()]
    if not text and info.default is None:
        return None
    return text


def _is_collection(kind: Any) -> bool:
    origin = get_origin(kind) or kind
    if origin in {Union, UnionType}:
        return any(_is_collection(one) for one in get_args(kind))
    return origin in {list, tuple, set, frozenset, dict}


def _hint(name: str, names: list[str], prefix: str = "") -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f": did you mean {prefix}{near[0]}?" if near else ""


def _complaint(
    error: ErrorDetails, model: type[BaseModel], section: str, found: Mapping[str, _Found]
) -> str:
    name = str(error["loc"][0]) if error["loc"] else ""
    info = model.model_fields.get(name)
    origin = found[name].origin if name in found else GIVEN
    where = f"{section}.{name}".rstrip(".") if origin == GIVEN else origin
    if error["type"] == "missing":
        return f"{variable(section, name)} is not set{_meaning(info)}"
    secret = info is not None and _is_secret(info)
    value = MASK if secret else clean(_shown(error["input"]))
    return f"{where}: {value!r} is not allowed: {error['msg']}{_meaning(info)}"


def _meaning(info: FieldInfo | None) -> str:
    return f" ({info.description})" if info and info.description else ""


def _is_secret(info: FieldInfo) -> bool:
    return any(kind.__name__ in repr(info.annotation) for kind in (SecretStr, SecretBytes))


def _shown(value: Any) -> str:
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, (SecretStr, SecretBytes)):
        return MASK if value.get_secret_value() else ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(_shown(one) for one in value)
    return _PASSWORD_IN_URL.sub(rf"\1:{MASK}", str(value))
