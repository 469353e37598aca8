"""Looking at the files of a run, for those who hold a signed order to read.

Result files are made by commands, and a command may have made anything: every step of a path is
opened from the folder before it without following a link, and only regular files are read.
"""

import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from muster.agent.jobs import Job
from muster.contracts.errors import Malformed, NotFound
from muster.contracts.runs import FilePart, ReadAsk, ResultFile, ResultFiles, Stream

MOST_LISTED: Final = 10_000
_MOST_LOOKED_AT: Final = 100_000
_ROOM: Final = 800_000
"""Bytes of JSON that the list may take."""
_PER_FILE: Final = 80
_DEEPEST: Final = 64

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


@contextmanager
def _opened(name: str, flags: int, folder: int | None = None) -> Generator[int]:
    try:
        handle = os.open(name, flags, dir_fd=folder)
    except (OSError, ValueError) as error:
        raise NotFound("there is no such file in this run (any more)") from error
    try:
        yield handle
    finally:
        os.close(handle)


def _steps(path: str) -> list[str]:
    steps = path.split("/")
    if any(step in {"", ".", ".."} or "\0" in step for step in steps) or len(steps) > _DEEPEST:
        raise Malformed("a path of a result file is relative and without . and ..")
    return steps


def answer(job: Job, ask: ReadAsk) -> ResultFiles | FilePart:
    """Return the list of files, or a part of the one that is asked for."""
    if not ask.path:
        return listing(job)
    if ask.output:
        if ask.path not in set(Stream):
            raise Malformed("an output is called stdout or stderr")
        steps = [ask.path]
    else:
        steps = ["results", *_steps(ask.path)]
    with _opened(str(job.path), _FOLDER) as folder:
        return _part(folder, steps, ask)


def _part(folder: int, steps: list[str], ask: ReadAsk) -> FilePart:
    if len(steps) > 1:
        with _opened(steps[0], _FOLDER, folder) as inner:
            return _part(inner, steps[1:], ask)
    with _opened(steps[0], _FILE, folder) as file:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound("this is not a regular file")
        return FilePart(data=_read(file, ask.offset, ask.limit), size=found.st_size)


def _read(file: int, offset: int, limit: int) -> bytes:
    try:
        return os.pread(file, limit, offset)
    except (OSError, OverflowError) as error:
        raise NotFound("the file cannot be read there") from error


def listing(job: Job) -> ResultFiles:
    """Return all result files, and the outputs as long as they are there."""
    with _opened(str(job.path), _FOLDER) as folder:
        outputs = [
            file for stream in Stream if (file := _described(folder, stream.value, stream.value))
        ]
        try:
            with _opened("results", _FOLDER, folder) as results:
                items, truncated = _collect(results)
        except NotFound:
            items, truncated = [], False
    return ResultFiles(items=items, outputs=outputs, truncated=truncated)


def _collect(results: int) -> tuple[list[ResultFile], bool]:
    items: list[ResultFile] = []
    looked, room = 0, _ROOM
    for folder, path, names in _walk(results):
        for name in names:
            looked += 1
            file = _described(folder, name, f"{path}{name}")
            if file is None:
                continue
            room -= len(file.path.encode()) * 2 + _PER_FILE
            if room < 0 or len(items) >= MOST_LISTED or looked > _MOST_LOOKED_AT:
                return _sorted(items), True
            items.append(file)
    return _sorted(items), False


def _sorted(items: list[ResultFile]) -> list[ResultFile]:
    return sorted(items, key=lambda file: file.path)


def _walk(top: int) -> Iterator[tuple[int, str, list[str]]]:
    """Yield every folder below *top*: open, with its path and the names in it."""
    steps = os.fwalk(".", follow_symlinks=False, dir_fd=top)
    for path, folders, names, folder in steps:
        inside = "" if path == "." else path.removeprefix("./") + "/"
        if inside.count("/") >= _DEEPEST:
            folders.clear()
        folders.sort()
        try:
            inside.encode()
        except UnicodeEncodeError:  # a name that is no text cannot be asked for
            continue
        yield folder, inside, sorted(names)


def _described(folder: int, name: str, path: str) -> ResultFile | None:
    try:
        path.encode()
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        modified = datetime.fromtimestamp(found.st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return None
    if not stat.S_ISREG(found.st_mode) or len(path) > 4096:  # noqa: PLR2004
        return None
    return ResultFile(path=path, size=found.st_size, modified=modified)
