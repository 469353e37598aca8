"""The whole server with two nodes, and people of every kind before it."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path

import httpx
import pytest

from muster.contracts.authority import EXCHANGE, Exchange
from muster.kit.bus import Bus
from muster.kit.identity.world import World
from muster.kit.service import ServiceSettings, connection
from tests.system.conftest import Server, home, make_server, server

__all__ = ["home", "make_server", "server"]

ROLES = ("admin", "operator", "tech", "viewer", "void", "nobody")
PASSWORD = "a password that is long enough"  # noqa: S105


@dataclass
class People:
    """Somebody of each kind, by the secret of their session or token."""

    server: Server
    secrets: dict[str, str]

    def client(self, who: str) -> httpx.Client:
        """Return a client of the REST API."""
        headers = {"Authorization": f"Bearer {self.secrets[who]}"} if self.secrets[who] else {}
        root = f"{self.server.url}/api/v1"
        return httpx.Client(base_url=root, headers=headers, timeout=30)


def invited(server: Server, name: str, *roles: str) -> str:
    """Let somebody in with *roles*; return the secret of a session."""
    body = {"name": name, "roles": list(roles)}
    secret = server.api("POST", "/users", body)["secret"]
    answer = httpx.post(
        f"{server.url}/api/v1/invitations/accept",
        json={"secret": secret, "password": PASSWORD},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    for header in answer.headers.get_list("set-cookie"):
        if found := SimpleCookie(header).get("muster"):
            return found.value
    raise AssertionError("no session")


@pytest.fixture(scope="module")
def people(home: Server) -> People:
    """Each role, nobody's role, everything on other nodes, expired, disabled, and no one."""
    elsewhere = {"grants": [{"actions": ["*"], "nodes": "@elsewhere"}]}
    home.api("PUT", "/roles/elsewhere", elsewhere)
    secrets = {role: invited(home, f"m-{role}", role) for role in ROLES if role != "nobody"}
    secrets["nobody"] = invited(home, "m-nobody")
    secrets["elsewhere"] = invited(home, "m-elsewhere", "elsewhere")
    secrets["anonymous"] = ""
    secrets["disabled"] = invited(home, "m-disabled", "admin")
    home.api("PATCH", "/users/m-disabled", {"disabled": True})
    made = home.api("POST", "/me/tokens", {"name": "short", "scopes": ["*"], "ttl": 0.1})
    secrets["expired"] = made["secret"]
    time.sleep(0.2)
    return People(home, secrets)


@asynccontextmanager
async def on_the_bus(server: Server, name: str, creds: Path | None = None) -> AsyncGenerator[Bus]:
    """Connect to the server's broker with the credentials of one of its services."""
    port = server.nats_port
    settings = ServiceSettings(data_dir=server.data_dir, nats=[f"nats://127.0.0.1:{port}"])
    async with connection(name, settings, creds) as bus:
        yield bus


async def ticket_of(bus: Bus, secret: str) -> str:
    """Return a ticket for a session or a token."""
    return (await bus.ask(EXCHANGE, Exchange(secret=secret))).ticket


def world_of(server: Server) -> World:
    """Return the server's keys, which nobody outside may have."""
    return World.open(server.data_dir / "keys")
