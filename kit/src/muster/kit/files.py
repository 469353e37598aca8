"""Private files: written whole or not at all, and readable by their owner alone."""

import fcntl
import os
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from muster.contracts.errors import Unavailable


def private_dir(path: Path) -> Path:
    """Make *path* (and its parents) if needed, and shut everybody else out of it."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def write_private(path: Path, content: str | bytes) -> None:
    """Replace *path* in one step; after a crash it holds the old content or the new."""
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync_dir(path.parent)


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def touch_private(path: Path) -> None:
    """Make *path* an empty private file, if there is none."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))


@contextmanager
def locked(path: Path, *, wait: float = 0.0) -> Generator[int]:
    """Hold the lock file *path*, or raise `Unavailable` after *wait* seconds.

    The kernel lets go of it when the process ends, however it ends. Yields the open file
    descriptor, for those who want to write into it who holds the lock.
    """
    flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    handle = os.open(path, flags, 0o600)
    try:
        _lock(handle, path, time.monotonic() + wait)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise Unavailable(f"{path} is locked by another process") from error
            time.sleep(0.02)
        else:
            return
