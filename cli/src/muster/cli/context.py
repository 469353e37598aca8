"""Which server is meant, and as whom: the file ``context.json`` that ``muster up`` writes.

It holds a token that may do everything its person may, so it is refused when others can read it.
"""

import json
import os
import stat
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from muster.cli.failures import Failure, Unreachable
from muster.cli.i18n import t

FILE: Final = "context.json"
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Context:
    """A server, and the token of a person."""

    url: str
    token: str
    ca: str | None = None
    """A path, or the PEM itself, or nothing: the system's authorities."""
    person: str = ""

    @property
    def pinned(self) -> bool:
        """Whether the CA itself is here, and not where it is found."""
        return bool(self.ca) and str(self.ca).lstrip().startswith("-----BEGIN")

    def save(self, path: Path) -> None:
        """Write the context so that only its owner can read it, at once or not at all."""
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(asdict(self), file, indent=1)
            file.write("\n")
        fresh.replace(path)


def default_data_dir() -> Path:
    """Return where ``muster up`` keeps its data if nobody says otherwise."""
    from platformdirs import user_state_dir  # noqa: PLC0415  # start-up time

    return Path(user_state_dir("muster"))


def place(context: Path | None, data_dir: Path | None) -> Path:
    """Return the file that holds the context.

    *context* is a file, or the name of a server that one has logged in to.
    """
    from muster.cli import contexts  # noqa: PLC0415  # they import each other

    if context is not None:
        named = len(context.parts) == 1 and not context.is_file()
        return contexts.file(str(context)) if named else context
    if data_dir is None and (used := contexts.current()) is not None:
        return used
    return (data_dir or default_data_dir()) / FILE


def load(path: Path) -> Context:
    """Read a context, or say what to do to get one."""
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Failure(
                    t("context.open", path=path, mode=f"{mode:o}"),
                    t("context.open.hint", path=path),
                )
            told = json.load(file)
    except FileNotFoundError as error:
        raise Unreachable(t("context.none", path=path), t("context.none.hint")) from error
    except OSError as error:
        raise Failure(t("context.unreadable", path=path, error=error.strerror)) from error
    except ValueError as error:
        raise Failure(t("context.broken", path=path)) from error
    return _checked(path, told)


def _checked(path: Path, told: Any) -> Context:
    if not isinstance(told, dict) or not all(
        isinstance(told.get(key), str) for key in ("url", "token")
    ):
        raise Failure(t("context.broken", path=path))
    context = Context(
        url=told["url"].rstrip("/"),
        token=told["token"],
        ca=told.get("ca") or None,
        person=str(told.get("person") or ""),
    )
    parts = urlsplit(context.url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise Failure(t("context.url", path=path, url=context.url))
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise Failure(t("context.plain", url=context.url))
    if context.ca and not context.pinned:
        return replace(context, ca=str(path.parent / context.ca))
    return context
