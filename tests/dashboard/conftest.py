"""A real browser, the real dashboard process, and a gateway that a test can move."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from muster.dashboard import api
from muster.dashboard.settings import Settings
from muster.kit.testing import free_port
from tests.dashboard.gateway import FakeGateway

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run Debian's chromium."""
    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    """Serve a made-up fleet."""
    made = FakeGateway()
    with made.serving():
        yield made


@pytest.fixture
def pool(fake: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    """Let the API of this process ask the made-up gateway."""
    found = Settings(gateway=f"http://127.0.0.1:{fake.port}")
    monkeypatch.setattr(api, "settings", lambda: found)
    api.pool.cache_clear()
    yield fake
    api.client().close()
    api.pool.cache_clear()


@contextmanager
def dashboard_at(gateway: str, log: Path, **settings: str) -> Generator[str]:
    """Run the dashboard as a process; yields its URL."""
    port = free_port()
    own = {"listen": f"127.0.0.1:{port}", "gateway": gateway} | settings
    env = os.environ | {f"MUSTER_DASHBOARD_{key.upper()}": value for key, value in own.items()}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "muster.dashboard"], env=env, stdout=out, stderr=out
        )
        url = f"http://127.0.0.1:{port}"
        try:
            end = time.monotonic() + 60
            while status_of(url + "/healthz") != 200:
                assert time.monotonic() < end, log.read_text()
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield url
        finally:
            process.terminate()
            process.wait(timeout=15)


@pytest.fixture
def dashboard(fake: FakeGateway, tmp_path: Path) -> Iterator[str]:
    """Run the dashboard before the made-up gateway; yields its URL."""
    log = tmp_path / "dashboard.log"
    with dashboard_at(f"http://127.0.0.1:{fake.port}", log, refresh="0.3") as url:
        yield url


def status_of(url: str, cookie: str = "") -> int:
    """Return the HTTP status of *url*; 0 when nobody answers."""
    request = urllib.request.Request(url, headers={"Cookie": cookie} if cookie else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return int(error.code)
    except OSError:
        return 0
