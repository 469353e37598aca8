"""The process: TLS, the whole program, and how it ends."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError
from websockets.asyncio.client import connect

from muster.gateway.app import gateway
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.identity.certificates import (
    client_context,
    create_ca,
    fingerprint,
    issue_server,
)
from muster.kit.testing import Broker, free_port
from tests.gateway.world import World, world


async def test_it_speaks_tls_with_its_own_certificate(one_broker: Broker, tmp_path: Path) -> None:
    """HTTP and WebSocket; cookies become secure by that."""
    ca = create_ca()
    issued = issue_server(ca, ["127.0.0.1"])
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    cert.write_bytes(issued.cert)
    key.write_bytes(issued.key)
    trust = client_context(ca.cert.decode())
    async with world(one_broker, tls_cert=cert, tls_key=key) as here:
        assert here.url.startswith("https://")
        async with httpx.AsyncClient(base_url=here.url, verify=trust) as client:
            answer = await client.get("/login")
            assert "Secure" in answer.headers["set-cookie"]
            cookie = {"Cookie": f"__Host-muster={here.secret()}", "Origin": here.url}
            url = here.url.replace("https", "wss") + "/api/v1/events"
            async with connect(url, ssl=trust, additional_headers=cookie, proxy=None) as socket:
                await socket.send('{"subscribe": "nodes"}')
                assert "reset" in str(await socket.recv())


def _shown(url: str) -> str:
    """Return the fingerprint of the certificate that a new connection gets."""
    host, port = url.removeprefix("https://").split(":")
    return fingerprint(ssl.get_server_certificate((host, int(port))))


async def test_another_certificate_is_shown_without_a_restart(
    one_broker: Broker, tmp_path: Path
) -> None:
    """From the next connection on; half of a pair changes nothing, and is told."""
    first, second, third = (issue_server(create_ca(), ["127.0.0.1"]) for _ in range(3))
    cert, key = tmp_path / "server.pem", tmp_path / "server.key"
    cert.write_bytes(first.cert)
    key.write_bytes(first.key)
    async with world(one_broker, tls_cert=cert, tls_key=key) as here:
        assert await asyncio.to_thread(_shown, here.url) == fingerprint(first.cert)
        cert.write_bytes(second.cert)  # an operator who copies them one after the other
        await asyncio.sleep(2.5)
        assert await asyncio.to_thread(_shown, here.url) == fingerprint(first.cert)
        key.write_bytes(second.key)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(_shown, here.url) != fingerprint(second.cert):
                await asyncio.sleep(0.1)
        cert.write_bytes(third.cert + third.key)  # and one who has both in one file
        key.write_bytes(third.key)
        async with asyncio.timeout(10):
            while await asyncio.to_thread(_shown, here.url) != fingerprint(third.cert):
                await asyncio.sleep(0.1)


async def test_stopping_is_quick_although_clients_stay(one_broker: Broker) -> None:
    """Open WebSockets and idle connections do not hold the gateway up."""
    options = Settings(data_dir=one_broker.data_dir, port=0)
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(one_broker.connect("gateway"))
        app = await stack.enter_async_context(gateway(bus, options))
        peers = await stack.enter_async_context(world(one_broker))
        client = await stack.enter_async_context(httpx.AsyncClient())
        async with listening(app, options) as url:
            await client.get(f"{url}/healthz")
            headers = {"Authorization": f"Bearer {peers.secret()}"}
            address = url.replace("http", "ws") + "/api/v1/events"
            socket = await connect(address, additional_headers=headers, proxy=None)
            began = time.monotonic()
        assert time.monotonic() - began < 5
        await socket.wait_closed()
        assert socket.close_code == 1012


async def test_a_port_that_is_taken_is_an_error_that_says_so(here: World) -> None:
    """The gateway does not take another one by itself."""
    port = int(here.url.rsplit(":", 1)[1])
    options = here.settings.model_copy(update={"port": port})
    async with gateway(here.bus, options) as app:
        with pytest.raises(OSError, match="in use"):
            async with listening(app, options):
                pass


def _started(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "muster.gateway"], env=environment)


async def test_the_program_serves_and_ends_on_sigterm(one_broker: Broker) -> None:
    """`python -m muster.gateway`, settings from the environment, exit code 0."""
    port, health_port = free_port(), free_port()
    settings = {
        "MUSTER_GATEWAY_HEALTH_PORT": str(health_port),
        "MUSTER_GATEWAY_DATA_DIR": str(one_broker.data_dir),
        "MUSTER_GATEWAY_NATS": one_broker.url,
        "MUSTER_GATEWAY_PORT": str(port),
    }
    process = _started({**os.environ, **settings})
    try:
        async with asyncio.timeout(40), httpx.AsyncClient() as client:
            while True:
                try:
                    answer = await client.get(f"http://127.0.0.1:{port}/readyz")
                    break
                except httpx.ConnectError:
                    assert process.poll() is None
                    await asyncio.sleep(0.1)
            assert answer.json() == {"status": "ok"}
            ready = await client.get(f"http://127.0.0.1:{health_port}/readyz")
            assert ready.json()["checks"] == {"bus": "ok"}
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "given",
    [
        {"public_url": "muster.example"},
        {"public_url": "https://muster.example/path"},
        {"dashboard": "https://far.example"},
        {"dashboard": "/run/dashboard"},
        {"port": 70000},
        {"unknown": 1},
    ],
)
def test_a_setting_that_cannot_work_is_refused(given: dict[str, object], tmp_path: Path) -> None:
    """At the start, not at the first request."""
    with pytest.raises(ValidationError):
        Settings.model_validate({"data_dir": tmp_path, **given})
