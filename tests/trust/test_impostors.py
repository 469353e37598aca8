"""Nobody else is believed to be the server: by no agent, no service and no command line."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.cli.context import Context
from muster.contracts.certificates import CaNews
from muster.contracts.names import new_node_id
from muster.kit.identity import natsjwt
from muster.kit.identity.authorities import Authorities, give_notice
from muster.kit.identity.certificates import Issued, create_ca, issue_server
from muster.kit.identity.nkeys import Key
from muster.kit.service import ServiceSettings, connection
from muster.kit.tasks import running
from muster.kit.testing import Broker
from tests.system.conftest import ENV, until
from tests.trust.impostors import http, posing

HERE = ["127.0.0.1", "localhost"]
Make = Callable[[Path], tuple[str, Issued]]


def _strange(folder: Path) -> tuple[str, Issued]:
    place = Authorities(folder)
    place.open(HERE, datetime.now(UTC))
    return place.bundle.read_text(), issue_server(create_ca(), HERE)


def _retired(folder: Path) -> tuple[str, Issued]:
    place, now = Authorities(folder), datetime.now(UTC)
    place.open(HERE, now)
    stolen = Issued(place.bundle.read_bytes(), place.key.read_bytes())
    for step in (place.prepare, place.switch, place.retire):
        step(now)
    return place.bundle.read_text(), issue_server(stolen, HERE)


def _mine(folder: Path, hosts: list[str], days: int) -> tuple[str, Issued]:
    place = Authorities(folder)
    place.open(HERE, datetime.now(UTC))
    ca = Issued(place.bundle.read_bytes(), place.key.read_bytes())
    return place.bundle.read_text(), issue_server(ca, hosts, days=days)


def _misnamed(folder: Path) -> tuple[str, Issued]:
    return _mine(folder, ["other.example"], 30)


def _expired(folder: Path) -> tuple[str, Issued]:
    return _mine(folder, HERE, 0)


KINDS = [_strange, _retired, _misnamed, _expired]


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
async def test_no_service_believes_it(broker: Broker, tmp_path: Path, make: Make) -> None:
    """It tries again and again, and says nothing."""
    bundle, issued = make(tmp_path / "tls")
    (tmp_path / "ca.pem").write_text(bundle)
    with posing(tmp_path, issued) as impostor:
        settings = ServiceSettings(
            data_dir=broker.data_dir,
            nats=[f"tls://127.0.0.1:{impostor.port}"],
            ca=tmp_path / "ca.pem",
        )

        async def come() -> None:
            async with connection("registry", settings):
                raise AssertionError("it was believed")

        async with running(come(), "come"):
            await asyncio.to_thread(until, lambda: impostor.tries >= 3)
    assert (impostor.believed, impostor.heard) == (0, b"")


def identity(home: Home, bundle: str, port: int, server: str, key: Ed25519PrivateKey) -> Identity:
    """Give *home* an identity whose broker is the impostor."""
    home.make()
    own, broker = Key.generate("U"), Key.generate("A")
    made = Identity(
        node=new_node_id(),
        jwt=_jwt(own, broker),
        seed=own.seed,
        authority_keys=[natsjwt.text64(key.public_key().public_bytes_raw())],
        epoch=1,
        urls=[f"tls://127.0.0.1:{port}"],
        ca=bundle,
        server=server,
    )
    made.save(home)
    return made


def _jwt(own: Key, issuer: Key) -> str:
    until = int((datetime.now(UTC) + timedelta(days=30)).timestamp())
    return natsjwt.encode("user", own.public, "node", {}, issuer, exp=until)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_no_agent_believes_it(tmp_path: Path, make: Make) -> None:
    """Nor its news of another CA; log and doctor say what to do."""
    bundle, issued = make(tmp_path / "tls")
    home, key = Home(tmp_path / "agent"), Ed25519PrivateKey.generate()
    evil = create_ca("evil", after=datetime.now(UTC) - timedelta(minutes=1)).cert.decode()
    news = CaNews(ca=evil, notice=give_notice(evil, Ed25519PrivateKey.generate()))
    with posing(tmp_path, issued) as broker, posing(tmp_path, issued) as gateway:
        gateway.answer = http(news.model_dump_json())
        url = f"https://127.0.0.1:{gateway.port}"
        before = identity(home, bundle, broker.port, url, key)
        words = [sys.executable, "-m", "muster.agent"]
        where = ["--data-dir", str(home.root)]
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([*words, "run", *where], stdout=log, stderr=log)
        try:
            until(lambda: broker.tries >= 4)
        finally:
            process.terminate()
            process.wait(timeout=15)
        doctor = subprocess.run(
            [*words, "doctor", *where], capture_output=True, text=True, timeout=60, check=False
        )
    assert (broker.believed, broker.heard) == (0, b"")
    assert gateway.heard.startswith(b"GET /api/v1/ca/news")
    assert Identity.load(home) == before
    for told in ((tmp_path / "log").read_text(), doctor.stdout):
        assert "`muster-agent leave`, join again" in told


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_no_command_line_believes_it(tmp_path: Path, make: Make) -> None:
    """It is asked for its CA, and told nothing: no token, no command."""
    bundle, issued = make(tmp_path / "tls")
    vouchers = Authorities(tmp_path / "tls").vouchers()
    shown = issued.cert.decode()
    told = json.dumps({"ca": create_ca().cert.decode() + bundle, "vouchers": [shown, *vouchers]})
    with posing(tmp_path, issued) as impostor:
        impostor.answer = http(told)
        path = tmp_path / "context.json"
        Context(f"https://127.0.0.1:{impostor.port}", "mtok_secret", bundle).save(path)
        before = path.read_text()
        done = subprocess.run(
            [sys.executable, "-m", "muster.cli", "--context", str(path), "whoami"],
            capture_output=True, text=True, timeout=60, check=False, env={**ENV, "LANG": "C"},
        )  # fmt: skip
    assert done.returncode == 12, done.stderr
    assert "certificate" in done.stderr
    assert b"mtok_secret" not in impostor.heard
    assert impostor.heard.replace(b"GET /api/v1/ca/news HTTP/1.1", b"").count(b"HTTP/1.1") == 0
    assert path.read_text() == before
