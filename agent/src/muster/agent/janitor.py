"""Takes away the files of finished runs: a day after the end, or when they take too much room."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from muster.agent.home import Home
from muster.agent.jobs import Job
from muster.agent.settings import Settings


@dataclass(frozen=True, slots=True)
class _Finished:
    job: Job
    ended: float
    over: bool
    size: int


def sweep(home: Home, settings: Settings, keep: frozenset[str], now: float | None = None) -> int:
    """Remove what is too old or too much; *keep* are runs that somebody looks after."""
    moment = time.time() if now is None else now
    found = [one for path in _folders(home) if path.name not in keep and (one := _look(path))]
    # a directory without an end may be of a run that is just being started
    finished = [one for one in found if one.over or one.ended + settings.keep <= moment]
    finished.sort(key=lambda one: one.ended)
    room = settings.disk_budget - sum(one.size for one in finished)
    removed = 0
    for one in finished:
        if one.ended + settings.keep > moment and room >= 0:
            continue
        one.job.remove()
        room += one.size
        removed += 1
    return removed


def _folders(home: Home) -> list[Path]:
    try:
        return [path for path in home.jobs.iterdir() if path.is_dir() and not path.is_symlink()]
    except OSError:
        return []


def _look(path: Path) -> _Finished | None:
    """Return what is there of a job that nobody looks after."""
    job = Job(path, path)
    ended = job.ended()
    try:
        moment = ended.finished if ended else path.stat().st_mtime
    except OSError:
        return None
    return _Finished(job, moment, ended is not None, _size(path))


def _size(path: Path) -> int:
    total = 0
    for _, _, names, folder in os.fwalk(path, follow_symlinks=False):
        for name in names:
            try:
                total += os.stat(name, dir_fd=folder, follow_symlinks=False).st_blocks * 512
            except OSError:
                continue
    return total
