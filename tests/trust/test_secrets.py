"""One of each kind of secret is used; then none of them is found where it does not belong."""

import asyncio
import base64
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx

from muster.kit.client import Credentials
from tests.system.conftest import ENV, Server
from tests.trust.conftest import PASSWORD, invited
from tests.trust.raw import recorded

ENVIRONMENT = "canary-in-the-environment"
INPUT = "canary-in-the-input"


def secrets_of(server: Server) -> dict[str, str]:
    """Return every secret that a fresh server has made, by where it is kept."""
    first = json.loads((server.data_dir / "first-login.json").read_text())
    found = {"first password": first["password"], "local token": server.token}
    for path in [*(server.data_dir / "keys").iterdir(), *(server.data_dir / "creds").iterdir()]:
        text = path.read_text()
        seeds = re.findall(r"\bS[A-Z][A-Z2-7]{56}\b", text)
        found |= {f"{path.name}/{number}": seed for number, seed in enumerate(seeds)}
    found["vault.key"] = (server.data_dir / "keys" / "vault.key").read_text().strip()
    found["authority.key"] = (server.data_dir / "keys" / "authority.key").read_text().strip()
    return found


def process_list() -> str:
    """Return the words of every process, as everybody on the machine can see them."""
    return "\n".join(
        path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if os.access(path, os.R_OK)
    )


async def ways_in(server: Server, session: str) -> dict[str, str]:
    """Make and use a way in of each kind; return their secrets."""
    found = {"wrong password": "a wrong canary"}
    async with httpx.AsyncClient(base_url=f"{server.url}/api/v1") as client:
        headers = {"Authorization": f"Bearer {session}"}
        for kind in ("api token", "app password"):
            body = {"name": "c", "scopes": ["node.read"], "app": kind == "app password"}
            made = await client.post("/me/tokens", json=body, headers=headers)
            found[kind] = made.json()["secret"]
        await client.post("/login", json={"name": "canary", "password": "a wrong canary"})
        auth = ("canary", found["app password"])
        assert (await client.get("/nodes", auth=auth)).status_code == 200
    file = server.data_dir.parent / "canary.creds"
    line = ("account", "new", "canary-ci", "--creds", str(file))
    assert (await asyncio.to_thread(server.muster, *line)).returncode == 0
    found["seed of a service account"] = Credentials.from_file(file).key.seed
    return found


async def used(server: Server) -> tuple[dict[str, str], list[tuple[str, bytes]], str]:
    """Use everything that takes or gives a secret; return them, the bus, the process lists."""
    found = secrets_of(server)
    lists: list[str] = []
    async with recorded(server) as tape:
        found["session"] = await asyncio.to_thread(invited, server, "canary", "operator")
        found["password"] = PASSWORD
        found |= await ways_in(server, found["session"])
        token = await asyncio.to_thread(server.api, "POST", "/join-tokens", {})
        body = token["line"].removeprefix("muster1.")
        found["join token"] = json.loads(base64.urlsafe_b64decode(body + "=="))["s"]
        agent = await asyncio.to_thread(server.join, "canary-node")
        identity = json.loads((agent.data_dir / "identity.json").read_text())
        found["node seed"] = identity["seed"]
        found["second password"] = "another canary horse"
        again = subprocess.run(  # noqa: ASYNC221
            [sys.executable, "-m", "muster.cli", "login", server.url, "-u", "canary",
             "--password-stdin"],
            input=PASSWORD, env={**ENV, "HOME": str(server.data_dir.parent)},
            text=True, check=False, capture_output=True, timeout=60,
        )  # fmt: skip
        assert again.returncode == 0, again.stderr
        command = {"env": {"SECRET": ENVIRONMENT}, "stdin": "Y2FuYXJ5LWluLXRoZS1pbnB1dA=="}
        run = await asyncio.to_thread(server.run, ["sleep", "1"], "canary-node", command=command)
        lists.append(process_list())
        await asyncio.to_thread(server.over, run)
        lists.append(process_list())
    return found, tape, "\n".join(lists)


def inside(databases: list[Path]) -> str:
    """Return every text and blob of the databases, as somebody reads them who has a copy."""
    parts: list[str] = []
    for path in databases:
        with closing(sqlite3.connect(path)) as conn:
            parts.extend(conn.iterdump())
        parts.append(path.read_bytes().decode("latin-1"))
    return "\n".join(parts)


async def test_no_secret_is_where_it_does_not_belong(make_server: Callable[..., Server]) -> None:
    """Not in logs, process lists, databases, on the bus beyond its own subject, or open files."""
    server = make_server()
    await asyncio.to_thread(server.start)
    found, tape, lists = await used(server)
    base = server.data_dir.parent
    logs = [path.read_text(errors="replace") for path in base.rglob("*.log*")]
    databases = inside([*server.data_dir.glob("*.db")])
    wrong = []
    for kind, secret in found.items():
        assert len(secret) >= 10, kind
        if any(secret in text for text in logs):
            wrong.append((kind, "logs"))
        if secret in lists:
            wrong.append((kind, "process list"))
        if secret in databases:
            wrong.append((kind, "database"))
        own = {"muster.svc.authority.login", "muster.svc.authority.exchange",
               "muster.svc.authority.accept", "muster.svc.authority.join",
               "muster.svc.authority.logout"}  # fmt: skip
        for subject, data in tape:
            answer = subject.startswith("_INBOX_gateway.")
            if secret.encode() in data and subject not in own and not answer:
                wrong.append((kind, subject))
    for canary in (ENVIRONMENT, INPUT):
        assert not any(canary in text for text in logs)
        assert canary not in lists
    assert wrong == []
    open_files = [
        str(path)
        for path in base.rglob("*")
        if path.is_file() and path.suffix != ".out"  # what the screen showed, kept by the test
        and stat.S_IMODE(path.stat().st_mode) & 0o077
        and any(s in path.read_text(errors="replace") for s in found.values())
    ]  # fmt: skip
    assert open_files == []
