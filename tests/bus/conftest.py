"""A real broker without accounts, for what the bus does whoever is connected."""

import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.contracts.authority import Person, Ticket
from muster.contracts.names import new_id
from muster.kit.identity import tickets
from muster.kit.testing import free_port

SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


@dataclass
class PlainBroker:
    """A nats-server of our own."""

    home: Path
    port: int
    monitor: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is healthy."""
        conf = self.home / "nats.conf"
        conf.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor}"\n'
            f'jetstream {{ store_dir: "{self.home}/js", sync_interval: always }}\n'
        )
        log = self.home / "nats.log"
        self.process = subprocess.Popen([SERVER, "-c", conf, "-l", log])
        end = time.monotonic() + 20
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.monitor}/healthz", timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise TimeoutError("nats-server does not get healthy")

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[PlainBroker]:
    """Run a broker for one test."""
    broker = PlainBroker(tmp_path, free_port(), free_port())
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


KEY = Ed25519PrivateKey.generate()
"""The authority's key of these tests."""

PUBLIC = KEY.public_key().public_bytes_raw()


def ticket(*permissions: str, seconds: float = 60, key: Ed25519PrivateKey = KEY) -> str:
    """Return a signed ticket of somebody with *permissions*."""
    now = datetime.now(UTC)
    person = Person(name="li", permissions=list(permissions))
    made = Ticket(
        person=person, session=new_id(), issued=now, expires=now + timedelta(seconds=seconds)
    )
    return tickets.sign(made, key)
