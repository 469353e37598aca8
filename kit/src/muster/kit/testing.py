"""Fixtures for every package's tests: a real nats-server in operator mode, as in production."""

import json
import os
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.contracts.authority import Person, Ticket
from muster.contracts.names import new_id, new_node_id
from muster.contracts.policy import Grant
from muster.kit import bus
from muster.kit.bus import Bus
from muster.kit.client import PLAIN, Trust
from muster.kit.files import write_private
from muster.kit.identity import natsjwt, tickets
from muster.kit.identity.authorities import Authorities
from muster.kit.identity.broker import Listener, server_config
from muster.kit.identity.certificates import client_context
from muster.kit.identity.nkeys import Key
from muster.kit.identity.world import World

_SERVER = Path(sysconfig.get_path("scripts")) / "nats-server"


_given: set[int] = set()


def free_port() -> int:
    """Return a port of the loopback that nobody uses, and that was not returned before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@dataclass
class Broker:
    """A nats-server with a world of its own, in a data directory like the real one."""

    data_dir: Path
    port: int = field(default_factory=free_port)
    monitor_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None
    secure: bool = False
    """Speaks TLS, with a CA of its own."""

    def __post_init__(self) -> None:
        """Make keys and credentials."""
        self.world = World.open(self.data_dir / "keys")
        self.world.write_creds(self.data_dir / "creds")
        (self.data_dir / "nats").mkdir(exist_ok=True)
        self.write_config()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'tls' if self.secure else 'nats'}://127.0.0.1:{self.port}"

    @property
    def authorities(self) -> Authorities:
        """The CA of a broker that speaks TLS."""
        return Authorities(self.data_dir / "tls")

    @property
    def trust(self) -> Trust:
        """What a client of it needs."""
        ca = self.authorities.bundle
        return Trust(lambda: client_context(ca.read_text())) if self.secure else PLAIN

    @property
    def authority_key(self) -> Ed25519PrivateKey:
        """The key that signs commands and tickets."""
        return self.world.authority_key

    @property
    def public_key(self) -> bytes:
        """The raw public half of `authority_key`."""
        return self.authority_key.public_key().public_bytes_raw()

    def write_config(self) -> None:
        """Write ``nats.conf``."""
        cert = self.authorities.server if self.secure else None
        if self.secure:
            self.authorities.open(["127.0.0.1", "localhost"], datetime.now(UTC))
        listener = Listener(
            "127.0.0.1", self.port, self.monitor_port, disk=2 << 30, cert=cert, key=cert
        )
        text = server_config(self.world, self.data_dir / "nats", listener)
        write_private(self.data_dir / "nats" / "nats.conf", text)

    def start(self) -> None:
        """Start the broker and wait until it is healthy."""
        conf = self.data_dir / "nats" / "nats.conf"
        self.process = subprocess.Popen([_SERVER, "-c", conf], stderr=subprocess.PIPE)  # noqa: S603
        url = f"http://127.0.0.1:{self.monitor_port}/healthz"
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None and self.process.stderr:
                raise RuntimeError(self.process.stderr.read().decode())
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if json.load(answer)["status"] == "ok":
                        return
            except OSError:
                time.sleep(0.02)
        raise TimeoutError("nats-server does not get healthy")

    def kill(self) -> None:
        """End it without a chance to tidy up."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it politely."""
        self._end(signal.SIGTERM)

    def restart(self) -> None:
        """Kill it and start it again."""
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        os.kill(self.process.pid, number)
        self.process.wait(timeout=20)
        if self.process.stderr:
            self.process.stderr.close()
        self.process = None

    def creds(self, name: str) -> Path:
        """Return the credentials file of a service."""
        return self.data_dir / "creds" / f"{name}.creds"

    def node(self, node: str | None = None) -> tuple[str, Path]:
        """Return the id and the credentials file of a new node."""
        node = node or new_node_id()
        key = Key.generate("U")
        token = self.world.mint_node(node, key.public, datetime.now(UTC) + timedelta(days=30))
        path = self.data_dir / "creds" / f"{node}.creds"
        write_private(path, natsjwt.creds_text(token, key.seed))
        return node, path

    def connect(self, name: str) -> AbstractAsyncContextManager[Bus]:
        """Open a bus as a service, or as a node that `node` has made."""
        return bus.connect(
            self.url,
            name=name,
            creds=self.creds(name),
            keys=[self.public_key],
            slowest=0.5,
            trust=self.trust,
        )

    def ticket(
        self,
        *permissions: str,
        name: str = "admin",
        nodes: str = "all",
        seconds: float = 300,
        revision: int = 1 << 40,
    ) -> str:
        """Return a ticket of somebody with *permissions* (``*`` if none are given) on *nodes*."""
        now = datetime.now(UTC)
        actions = list(permissions or ("*",))
        grants = [Grant(actions=actions, nodes=nodes, run_as=["*"])]
        made = Ticket(
            person=Person(name=name, roles=[], permissions=actions, grants=grants),
            session=new_id(),
            issued=now,
            expires=now + timedelta(seconds=seconds),
            revision=revision,
        )
        return tickets.sign(made, self.authority_key)


@pytest.fixture
def make_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Broker]]:
    """Return a function that starts brokers; all are stopped at the end of the test."""
    made: list[Broker] = []

    def make() -> Broker:
        broker = Broker(tmp_path_factory.mktemp("server"))
        made.append(broker)
        broker.start()
        return broker

    try:
        yield make
    finally:
        for broker in made:
            broker.kill()


@pytest.fixture
def broker(make_broker: Callable[[], Broker]) -> Broker:
    """Run one broker for one test."""
    return make_broker()


@pytest.fixture
async def gateway_bus(broker: Broker) -> AsyncIterator[Bus]:
    """Open a bus that may ask every service, as the gateway does."""
    async with broker.connect("gateway") as opened:
        yield opened
