"""Private files are whole, and nobody else's business."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from muster.contracts.errors import Unavailable
from muster.kit.files import locked, private_dir, touch_private, write_private


def mode(path: Path) -> int:
    """Return the permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_a_private_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    """Also when it replaces one that everybody could read."""
    path = tmp_path / "key"
    path.write_text("old")
    path.chmod(0o666)
    write_private(path, "new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)
    write_private(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And leaves nothing behind."""
    path = tmp_path / "key"
    write_private(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_private_folder_is_shut(tmp_path: Path) -> None:
    """Also when it was open before."""
    path = tmp_path / "a" / "b"
    path.mkdir(parents=True, mode=0o755)
    assert mode(private_dir(path)) == 0o700
    assert mode(private_dir(tmp_path / "c" / "d")) == 0o700


def test_touching_changes_nothing_that_is_there(tmp_path: Path) -> None:
    """A database file keeps what it holds."""
    path = tmp_path / "a.db"
    touch_private(path)
    assert mode(path) == 0o600
    path.write_text("x")
    touch_private(path)
    assert path.read_text() == "x"


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """The second is refused with the file's name; afterwards it is free."""
    path = tmp_path / "muster.lock"
    with locked(path), pytest.raises(Unavailable, match=r"muster\.lock is locked"), locked(path):
        pass
    with locked(path, wait=1.0):
        assert mode(path) == 0o600


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    """No lock survives the one who held it."""
    path = tmp_path / "muster.lock"
    program = f"""
import sys, time, pathlib
from muster.kit.files import locked
with locked(pathlib.Path({str(path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Unavailable), locked(path):
            pass
        process.kill()
        process.wait()
        with locked(path, wait=5.0):
            pass
