"""The servers that one has logged in to: a file for each, and which one is in use."""

from pathlib import Path
from typing import Final

from muster.cli.context import Context
from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t

LOCAL: Final = "local"
"""The server of this machine, by its data directory: it has no file here."""


def folder() -> Path:
    """Return where the contexts are."""
    from platformdirs import user_config_dir  # noqa: PLC0415  # start-up time

    return Path(user_config_dir("muster")) / "contexts"


def file(name: str) -> Path:
    """Return the file of a context, whether there is one or not."""
    if not name or name.startswith(".") or {"/", "\\", "\0"} & set(name):
        raise Failure(t("context.bad_name", name=name), code=Exit.USAGE)
    return folder() / f"{name}.json"


def names() -> list[str]:
    """Return the names of all contexts."""
    return sorted(path.stem for path in folder().glob("*.json"))


def current() -> Path | None:
    """Return the file of the context in use; None: the server of this machine."""
    try:
        name = (folder() / "current").read_text().strip()
    except OSError:
        return None
    found = folder() / f"{name}.json"
    return found if name and found.is_file() else None


def of(path: Path) -> str | None:
    """Return the name of the context in a file, or None if it is not one of these."""
    return path.stem if path.parent == folder() else None


def keep(name: str, context: Context) -> None:
    """Write a context, and use it from now on."""
    path = file(name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    context.save(path)
    use(name)


def use(name: str) -> None:
    """Mean this server from now on."""
    if name == LOCAL:
        (folder() / "current").unlink(missing_ok=True)
        return
    if not file(name).is_file():
        raise Failure(t("context.unknown", name=name), t("context.unknown.hint"), Exit.NOTHING)
    (folder() / "current").write_text(f"{name}\n")


def forget(name: str) -> None:
    """Remove a context."""
    path = file(name)
    if not path.is_file():
        raise Failure(t("context.unknown", name=name), t("context.unknown.hint"), Exit.NOTHING)
    if current() == path:
        use(LOCAL)
    path.unlink()
