"""How long the files of runs stay."""

import json
import os

from muster.agent.home import Home
from muster.agent.janitor import sweep
from muster.agent.jobs import Job
from muster.agent.settings import Settings
from muster.contracts.names import new_id

NOW = 1_800_000_000.0
DAY = 86400.0


def _job(home: Home, ended: float | None, size: int = 4096) -> Job:
    job = Job.of(home, new_id())
    job.results.mkdir(parents=True)
    (job.path / "stdout").write_bytes(b"x" * size)
    if ended is not None:
        (job.path / "exit.json").write_text(json.dumps({"exit": 0, "finished": ended}))
    return job


def test_files_stay_for_a_day(home: Home) -> None:
    """Counted from the end; a run that somebody looks after stays however old it is."""
    old, fresh, live = (_job(home, NOW - age) for age in (DAY + 1, DAY - 1, 9 * DAY))
    assert sweep(home, Settings(), frozenset({live.run}), NOW) == 1
    assert not old.path.exists()
    assert fresh.path.exists()
    assert live.path.exists()


def test_the_oldest_go_first_when_there_is_too_much(home: Home) -> None:
    """The budget holds for finished runs; what is just being started is not touched."""
    jobs = [_job(home, NOW - age, 1 << 20) for age in (10, 30, 20)]
    starting = _job(home, None, 1 << 20)
    os.utime(starting.path, (NOW, NOW))
    removed = sweep(home, Settings(disk_budget=2_500_000), frozenset(), NOW)
    assert removed == 1
    assert [job.path.exists() for job in jobs] == [True, False, True]
    assert starting.path.exists()


def test_what_was_never_finished_goes_as_well(home: Home) -> None:
    """A day after the last change nobody is going to look after it any more."""
    lost = _job(home, None)
    os.utime(lost.path, (NOW - DAY - 1, NOW - DAY - 1))
    assert sweep(home, Settings(), frozenset(), NOW) == 1
    assert not lost.path.exists()


def test_links_and_strange_things_are_left_alone(home: Home) -> None:
    """Nothing outside the directory of jobs is ever deleted."""
    outside = home.root / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (home.jobs / "link").symlink_to(outside)
    (home.jobs / "file").touch()
    job = _job(home, NOW - 9 * DAY)
    (job.results / "link").symlink_to(outside)
    sweep(home, Settings(), frozenset(), NOW)
    assert (outside / "file").exists()
    assert not job.path.exists()
