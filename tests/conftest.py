"""Fixtures for every package: a private PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")  # a slow machine is no finding


def _programs() -> Path | None:
    """Return the folder of PostgreSQL's server programs, the newest version's."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places += [Path(found).parent for found in [shutil.which("initdb")] if found]
    return next((place for place in places if (place / "postgres").exists()), None)


def _wait_until_ready(programs: Path, home: Path, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run([programs / "pg_isready", "-q", "-h", home], check=False).returncode:
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"PostgreSQL does not start:\n{(home / 'log').read_text()}")
        time.sleep(0.05)


@pytest.fixture(scope="session", autouse=True)
def _plain_signals() -> None:
    """Undo what `nohup` and shells without job control do: children inherit what is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Run a PostgreSQL of our own, on a Unix socket alone; choose a schema with ``&schema=…``."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    root = os.geteuid() == 0  # as which PostgreSQL does not run
    user = pwd.getpwnam("postgres") if root else pwd.getpwuid(os.geteuid())
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # pytest's own folders are closed to that user
    os.chown(home, user.pw_uid, user.pw_gid)
    with (home / "log").open("wb") as output:

        def begin(program: str, *arguments: str) -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                [programs / program, "-D", home / "data", *arguments],
                stdout=output,
                stderr=output,
                cwd=home,
                user=user.pw_uid if root else None,
                group=user.pw_gid if root else None,
            )

        made = begin("initdb", "-U", "muster", "-A", "trust", "-E", "UTF8", "--no-sync").wait(60)
        assert made == 0, (home / "log").read_text()
        server = begin("postgres", "-c", "listen_addresses=", "-c", "fsync=off", "-k", str(home))
        try:
            _wait_until_ready(programs, home, server)
            yield f"postgresql://muster@/postgres?host={home}"
        finally:
            server.send_signal(signal.SIGINT)  # the fast way down
            server.wait(timeout=30)
            shutil.rmtree(home)
