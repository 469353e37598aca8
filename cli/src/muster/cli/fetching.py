"""Files that a node names, written below a folder of ours and nowhere else.

The path is a stranger's word. It is walked one part at a time by directory descriptors that
never follow a symbolic link, so neither ``..`` nor a link that lies there already leads out.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from muster.cli import human
from muster.cli.failures import Failure
from muster.cli.i18n import t

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FRESH: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NODE: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_LONGEST: Final = 255


def parts_of(told: str) -> list[str]:
    """Return the parts of a path that a node told, or refuse it."""
    parts = told.split("/")
    for part in parts:
        hidden = any(ord(char) < 32 or ord(char) == 127 for char in part)  # noqa: PLR2004
        if part in {"", ".", ".."} or hidden or "\\" in part:
            raise Failure(t("fetch.hostile", path=human.safe(told)))
        try:
            length = len(part.encode())
        except UnicodeEncodeError:
            length = _LONGEST + 1
        if length > _LONGEST:
            raise Failure(t("fetch.hostile", path=human.safe(told)))
    return parts


def folder_of(name: str, node: str) -> str:
    """Return the name of the folder for a node: its name, if that is one."""
    for candidate in (name, node):
        if _NODE.fullmatch(candidate):
            return candidate
    raise Failure(t("fetch.hostile", path=human.safe(name)))


@contextmanager
def _opened(parts: Iterable[str], root: int) -> Generator[int]:
    """Open the folder *parts* below *root*, making what is missing."""
    here = os.dup(root)
    try:
        for part in parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o777, dir_fd=here)
            below = os.open(part, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        yield here
    finally:
        os.close(here)


def _exists(name: str, folder: int) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def store(
    to: Path,
    parts: list[str],
    pieces: Iterable[bytes],
    *,
    overwrite: bool,
    told: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write *pieces* to the file *parts* below *to*, whole or not at all; *told* hears sizes."""
    *folders, name = parts
    shown = to.joinpath(*parts)
    try:
        to.mkdir(parents=True, exist_ok=True)
        root = os.open(to, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with _opened(folders, root) as folder:
                _write(folder, name, pieces, shown, overwrite=overwrite, told=told)
        finally:
            os.close(root)
    except OSError as error:
        raise Failure(
            t("fetch.cannot", file=human.safe(shown), error=error.strerror or str(error))
        ) from error
    return shown


def _write(
    folder: int,
    name: str,
    pieces: Iterable[bytes],
    shown: Path,
    *,
    overwrite: bool,
    told: Callable[[int], None],
) -> None:
    """Write beside the name, then rename."""
    if _exists(name, folder) and not overwrite:
        raise Failure(t("fetch.exists", file=human.safe(shown)), t("fetch.exists.hint"))
    fresh = f".muster-{secrets.token_hex(8)}"
    try:
        with os.fdopen(os.open(fresh, _FRESH, 0o666, dir_fd=folder), "wb") as file:
            for piece in pieces:
                file.write(piece)
                told(len(piece))
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(fresh, dir_fd=folder)
        raise
