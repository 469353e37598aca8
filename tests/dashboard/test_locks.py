"""Who gets in, what is sent, and what nobody can switch on."""

import asyncio
import os
import subprocess
import sys
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from muster.contracts.authority import Person
from muster.contracts.nodes import NodePage
from muster.dashboard import api as api_module
from muster.dashboard.api import Api, ApiError, where
from muster.dashboard.app import OPTIONS
from muster.dashboard.guard import Guard
from muster.dashboard.settings import Settings
from tests.dashboard.gateway import FakeGateway


def test_nothing_is_sent_home_whatever_the_environment_says() -> None:
    """Telemetry, error details, agent interface and export are off, and stay off."""
    loosened = {
        "STREAMLIT_BROWSER_GATHER_USAGE_STATS": "true",
        "STREAMLIT_CLIENT_SHOW_ERROR_DETAILS": "full",
        "STREAMLIT_SERVER_ENABLE_AGENT_API": "true",
        "STREAMLIT_SERVER_ADDRESS": "0.0.0.0",  # noqa: S104
        "STREAMLIT_SERVER_ENABLE_XSRF_PROTECTION": "false",
    }
    script = (
        "from muster.dashboard import app\n"
        "from streamlit import config\n"
        "app.create()\n"
        "print([n for n, v in app.OPTIONS.items() if config.get_option(n) != v])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | loosened,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.strip().endswith("[]")
    assert OPTIONS["browser.gatherUsageStats"] is False
    assert OPTIONS["client.showErrorDetails"] == "none"
    assert OPTIONS["server.enableAgentApi"] is False
    assert OPTIONS["server.address"] == "127.0.0.1"


@pytest.mark.parametrize("place", ["0.0.0.0:1", "example.org:80", "10.0.0.1:80", "8421"])
def test_it_listens_on_this_machine_only(place: str) -> None:
    """Others come through the gateway."""
    with pytest.raises(ValidationError):
        Settings(listen=place)


@pytest.mark.parametrize("place", ["127.0.0.1:1", "[::1]:80", "localhost:80", "unix:/run/x"])
def test_loopback_and_sockets_are_places(place: str) -> None:
    """An address of this machine, or a socket."""
    assert Settings(listen=place).listen == place


def test_a_path_leads_nowhere_else() -> None:
    """What stands in the browser's address cannot reach another route."""
    assert where("runs", "../nodes/x/revoke?a=1#") == (
        "runs/%2E%2E%2Fnodes%2Fx%2Frevoke%3Fa%3D1%23"
    )


async def through(
    guard: Guard, cookie: str = "", *, kind: str = "http", path: str = "/dashboard/"
) -> int:
    """Send a request through the guard; return what was answered."""
    sent: list[dict[str, Any]] = []
    headers = [(b"cookie", cookie.encode())] if cookie else []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    await guard({"type": kind, "path": path, "headers": headers}, receive, send)
    return int(sent[0].get("status") or sent[0]["code"])


async def inner(_scope: Any, _receive: Any, send: Any) -> None:
    """Stand for Streamlit."""
    await send({"type": "http.response.start", "status": 200, "headers": []})


async def test_the_guard_asks_once_and_believes_for_a_while() -> None:
    """Pages and sockets without a session are refused; many requests at once ask once."""
    asked: list[str] = []

    def ask(cookies: dict[str, str]) -> Person:
        asked.append(cookies["muster"])
        if cookies["muster"] == "away":
            raise ApiError(503, "unavailable", "")
        if cookies["muster"] != "x":
            raise ApiError(401, "unauthenticated", "")
        return Person(name="li")

    guard = Guard(inner, ask)
    assert await through(guard) == 401
    assert await through(guard, kind="websocket") == 4401
    assert asked == []
    assert await through(guard, "muster=stolen", kind="websocket") == 4401
    assert await through(guard, "muster=away") == 503
    assert await asyncio.gather(*(through(guard, "a=1; muster=x") for _ in range(30))) == [200] * 30
    assert asked.count("x") == 1
    assert await through(guard, path="/healthz") == 200


async def test_a_first_password_must_be_changed_first() -> None:
    """The gateway leads to that page; the dashboard stays shut."""
    guard = Guard(inner, lambda _: Person(name="li", must_change_password=True))
    assert await through(guard, "muster=x") == 401


@pytest.mark.usefixtures("pool")
def test_sessions_do_not_mix(fake: FakeGateway) -> None:
    """The connections are shared, the cookies are not: not even those that an answer sets."""
    fake.sessions = {"x", "y"}
    jar = api_module.client().cookies
    answer = httpx.Response(
        200, headers={"set-cookie": "muster=x; Path=/"}, request=httpx.Request("GET", "http://a/")
    )
    jar.extract_cookies(answer)
    assert len(jar) == 0
    assert Api({"muster": "y", "other": "z"}).get(Person, "me").name == "admin"
    with pytest.raises(ApiError) as refused:
        Api({}).get(NodePage, "nodes")
    assert refused.value.status == 401


@pytest.mark.usefixtures("pool")
def test_a_gateway_that_is_away_is_said(fake: FakeGateway) -> None:
    """A refusal has its code, and so has silence."""
    fake.away = True
    with pytest.raises(ApiError) as refused:
        Api({"muster": "x"}).get(Person, "me")
    assert (refused.value.code, str(refused.value)) == (
        "unavailable",
        "the registry does not answer",
    )
