"""Health over HTTP: alive, ready, counted."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.request import urlopen

from prometheus_client import CollectorRegistry, Counter

from muster.contracts.errors import Unavailable
from muster.kit.health import Health


def get(port: int, path: str) -> tuple[int, str]:
    """Return status and body."""
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def ask(port: int, path: str) -> tuple[int, str]:
    """Ask without holding up the loop."""
    return await asyncio.to_thread(get, port, path)


async def fine() -> None:
    """Pass."""


async def away() -> None:
    """Fail."""
    raise Unavailable("the broker is away\x1b[2J")


async def slow() -> None:
    """Hang."""
    await asyncio.sleep(60)


async def odd() -> None:
    """Fail without a word."""
    raise ZeroDivisionError


async def test_ready_names_what_fails_and_why() -> None:
    """Each check by its name; one that hangs has failed and holds up nobody."""
    health = Health(patience=0.1)
    assert (await health.ready()).as_dict() == {"status": "ok", "checks": {}}
    for name, check in (("sql", fine), ("bus", away), ("disk", slow), ("x", odd)):
        health.check(name, check)
    readiness = await health.ready()
    assert not readiness.ready
    assert readiness.as_dict() == {
        "status": "unavailable",
        "checks": {
            "sql": "ok",
            "bus": r"the broker is away\x1b[2J",
            "disk": "no answer in 0.1 s",
            "x": "ZeroDivisionError",
        },
    }


async def test_it_is_served() -> None:
    """The three paths, and nothing else."""
    registry = CollectorRegistry()
    Counter("muster_books", "Books.", registry=registry).inc()
    health = Health(registry=registry)
    health.check("sql", fine)
    async with health.serving(0) as port:
        assert await ask(port, "/healthz") == (200, '{"status": "ok"}')
        assert await ask(port, "/readyz?x=1") == (200, '{"status": "ok", "checks": {"sql": "ok"}}')
        status, text = await ask(port, "/metrics")
        assert status == 200
        assert "muster_books_total 1.0" in text
        assert (await ask(port, "/"))[0] == 404
        health.check("bus", away)
        status, text = await ask(port, "/readyz")
        assert status == 503
        assert json.loads(text)["checks"]["sql"] == "ok"


async def test_a_stuck_loop_is_not_alive() -> None:
    """A process that cannot work says so, though it cannot work."""
    health = Health(patience=0.05)
    with ThreadPoolExecutor(1) as threads:
        async with health.serving(0) as port:
            # waiting like this is what makes the loop stuck
            status, text = threads.submit(get, port, "/healthz").result(30)
    assert status == 503
    assert "stuck" in text


async def test_after_the_end_the_port_is_free() -> None:
    """Nothing is left behind."""
    health = Health()
    async with health.serving(0) as port:
        pass
    async with health.serving(port) as again:
        assert again == port
