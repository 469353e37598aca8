"""The server as a service of systemd: its unit, and what it tells its manager."""

import os
import re
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.system import conftest
from tests.system.conftest import Server

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "muster.service"


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """No unknown directive, no wrong value, and little that it could do to the host."""
    unit = tmp_path / "muster.service"
    text = UNIT.read_text().replace("/usr/local/bin/muster", "/bin/true")
    unit.write_text(text.replace("User=muster", "User=daemon"))
    checks = (
        ["verify", "--man=no", str(unit)],
        ["security", "--offline=true", "--threshold=20", str(unit)],
    )
    for words in checks:
        done = subprocess.run(
            ["systemd-analyze", *words], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_starts_what_there_is(server: Server) -> None:
    """Its command line is one that `muster up` understands."""
    line = re.search(r"^ExecStart=\S+ (.+)$", UNIT.read_text(), re.MULTILINE)
    assert line
    verb, *options = line[1].split()
    told = server.muster(verb, "--help").stdout
    assert [option for option in options if option not in told.replace("/", " ").split()] == []


def test_the_manager_is_told(
    make_server: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """READY=1 when people can log in, not before; STOPPING=1 at the end."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(60)
        monkeypatch.setattr(conftest, "ENV", {**os.environ, "NOTIFY_SOCKET": str(path)})
        server = make_server()
        server.start()
        assert manager.recv(1000).decode().splitlines() == ["READY=1", f"STATUS={server.url}"]
        server.stop()
        assert manager.recv(1000) == b"STOPPING=1"
