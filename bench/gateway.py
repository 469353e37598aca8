"""Requests per second through the gateway, each with a round trip on the bus."""

import asyncio
import time
from collections.abc import Iterator

from bench import fleet
from bench.figures import Figure, middle, tail

CONNECTIONS = 16
SECONDS = 5.0


async def _client(port: int, request: bytes, until: float, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while time.perf_counter() < until:
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        took.append(time.perf_counter() - began)
    writer.close()


async def _load(port: int, path: str, token: str, connections: int) -> list[float]:
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
    took: list[float] = []
    until = time.perf_counter() + SECONDS
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_client(port, request.encode(), until, took))
    return took


def measure() -> Iterator[Figure]:
    """Yield the rate of a request with a bus round trip, and of one without as its floor."""
    with fleet.running() as ours:
        token = (ours.data_dir / "keys/local.token").read_text().strip()
        port = int(ours.state["port"])
        floor = asyncio.run(_load(port, "/healthz", token, CONNECTIONS))
        bus = asyncio.run(_load(port, "/api/v1/fleet/stats", token, CONNECTIONS))
        alone = asyncio.run(_load(port, "/api/v1/fleet/stats", token, 1))
        yield Figure(
            what="gateway requests with a bus round trip",
            unit="/s",
            value=round(len(bus) / SECONDS),
            peer="without the bus",
            peer_value=round(len(floor) / SECONDS),
            goal=">= 6000/s",
            more={"p50_ms_alone": middle(alone), "p99_ms_alone": tail(alone, 0.99)},
        )
