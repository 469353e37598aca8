"""An external system with a service account, before the whole server and its nodes."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from docs.generate import constants
from muster.contracts.accounts import AccountCredentials
from muster.contracts.base import ACCOUNT, NODE, Call, Event
from muster.contracts.names import new_id
from muster.contracts.runs import CREATE_RUN, GET_RUN
from muster.kit.client import Credentials
from muster.kit.identity.outside import OUTER
from tests.authority.outside import External, connected
from tests.contracts import examples
from tests.system.conftest import Server, until
from tests.trust.conftest import People, on_the_bus, ticket_of

OPERATOR = {"node.read", "run.create", "run.read", "self"}


def made(server: Server, folder: Path, *words: str) -> tuple[AccountCredentials, Path]:
    """Make an account with the command line; return what it says, and the file."""
    name = f"x-{new_id()[-8:]}"
    file = folder / f"{name}.creds"
    said = server.muster("account", "new", name, *words, "--creds", str(file), "-o", "json")
    assert said.returncode == 0, said.stderr
    return AccountCredentials.model_validate(json.loads(said.stdout)), file


@asynccontextmanager
async def external(server: Server, folder: Path, *words: str) -> AsyncGenerator[External]:
    """Connect with a new account."""
    told, file = await asyncio.to_thread(made, server, folder, *words)
    async with connected(told, Credentials.from_file(file).key) as opened:
        yield opened


@pytest.fixture
def elsewhere(home: Server) -> str:
    """A role that may do everything, on nodes that are not there."""
    name = f"r-{new_id()[-6:]}"
    home.api("PUT", f"/roles/{name}", {"grants": [{"actions": ["*"], "nodes": "@nowhere"}]})
    return name


def test_the_file_is_for_its_owner_and_its_key_is_nowhere_else(
    home: Server, tmp_path: Path
) -> None:
    """Mode 0600; renewed with the same key; the server has never seen the private half."""
    told, file = made(home, tmp_path, "--role", "viewer", "--expires", "1h")
    key = Credentials.from_file(file).key
    assert file.stat().st_mode & 0o777 == 0o600
    again = home.muster("account", "new", told.name, "--creds", str(file))
    assert (again.returncode, "already" in again.stderr) == (1, True)
    before = file.read_text()
    assert home.muster("account", "renew", told.name, "--creds", str(file)).returncode == 0
    assert Credentials.from_file(file).key.seed == key.seed
    assert file.read_text() != before
    for path in home.data_dir.rglob("*"):
        if path.is_file() and path.stat().st_size < 50_000_000:
            assert key.seed.encode() not in path.read_bytes(), path
    assert home.muster("account", "revoke", told.name, "-y").returncode == 0


async def test_no_question_but_its_own_is_answered(
    home: Server, people: People, tmp_path: Path
) -> None:
    """Every call of the contracts, bare and with an administrator's stolen ticket, is held off."""
    node = home.node("one")["id"]
    async with (
        external(home, tmp_path, "--role", "operator") as ci,
        on_the_bus(home, "gateway") as gateway,
    ):
        ticket = await ticket_of(gateway, people.secrets["admin"])
        wrong = []
        for name, call in constants(Call).items():
            subject = f"{call.subject}.{node}" if call.needs in {ACCOUNT, NODE} else call.subject
            body = json.dumps(examples.least(call.ask)).encode()
            for headers in (None, {"Muster-Ticket": ticket}):
                await ci.client.publish(subject, body, headers=headers)
                granted = call in OUTER and call.needs in OPERATOR
                if await ci._taken() != granted:  # noqa: SLF001
                    wrong.append((name, subject))
        assert wrong == []
        for call in OUTER:
            if call.needs in OPERATOR:
                least = examples.least(call.ask)
                assert (await ci.ask(call.subject, "", **least))[0] == "unauthenticated"


async def test_no_event_of_anybody_is_told_or_heard(home: Server, tmp_path: Path) -> None:
    """Neither news nor facts, neither a command nor a heartbeat, not even with all rights."""
    node = home.node("one")["id"]
    subjects = [
        *(event.subject.format(node, "x") for event in constants(Event).values()),
        *(f"muster.cmd.{node}.{verb}" for verb in ("run", "cancel", "read")),
        "muster.in.other.x", "$JS.API.STREAM.PURGE.IN", "$JS.API.CONSUMER.LIST.IN",
    ]  # fmt: skip
    async with external(home, tmp_path, "--role", "admin") as boss:
        assert [one for one in subjects if await boss.may_publish(one)] == []
        assert [one for one in subjects if await boss.may_subscribe(one)] == []


async def test_it_runs_a_command_where_its_role_says(
    home: Server, tmp_path: Path, elsewhere: str
) -> None:
    """Over the bus alone, signed for it and on record; elsewhere it sees and does nothing."""
    order = {"command": {"argv": ["echo", "hi"]}, "targets": {"names": ["one"]}}
    async with external(home, tmp_path, "--role", "operator") as ci:
        ticket = await ci.ticket()
        code, run = await ci.ask(CREATE_RUN.subject, ticket, **order)
        assert code == ""
        code, over = await ci.ask(GET_RUN.subject, ticket, run=run["id"], wait=4)
        while code == "" and not over["finished"]:
            code, over = await ci.ask(GET_RUN.subject, ticket, run=run["id"], wait=4)
        assert (over["by"], over["targets"][0]["state"]) == (ci.name, "done")
    found = home.api("GET", f"/audit?who={ci.name}&action=run.")["items"]
    assert [one["run"] for one in found] == [run["id"]]
    async with external(home, tmp_path, "--role", elsewhere) as ci:
        ticket = await ci.ticket()
        assert (await ci.ask("muster.svc.registry.list", ticket))[1]["items"] == []
        assert (await ci.ask(CREATE_RUN.subject, ticket, **order))[0] == "not_found"


async def test_taken_rights_are_gone_at_once(home: Server, tmp_path: Path) -> None:
    """At the broker, and for a ticket that was given before; what waits for a node is refused."""
    home.join("away").kill()
    until(lambda: home.node("away")["state"] == "offline")
    order = {"command": {"argv": ["true"]}, "targets": {"names": ["away"]}}
    async with external(home, tmp_path, "--role", "operator") as ci:
        ticket = await ci.ticket()
        _, run = await ci.ask(CREATE_RUN.subject, ticket, **order)
        body = {"roles": ["viewer"]}
        await asyncio.to_thread(home.api, "PATCH", f"/users/{ci.name}", body)
        await ci.anew()
        assert not await ci.may_publish(CREATE_RUN.subject)
        assert (await ci.ask("muster.svc.registry.list", ticket))[0] == "superseded"
        assert (await ci.ask("muster.svc.registry.list", await ci.ticket()))[0] == ""
    seen = await asyncio.to_thread(home.over, run["id"])
    assert seen["targets"][0]["state"] == "refused"


async def test_no_reply_subject_reaches_a_node_or_a_service(home: Server, tmp_path: Path) -> None:
    """An answer of the broker or of a service is no command, no heartbeat and no fact."""
    node = home.node("one")
    facts = home.api("GET", "/audit?limit=1")["items"][0]["seq"]
    async with external(home, tmp_path, "--role", "operator") as ci:
        for aim in (
            f"muster.cmd.{node['id']}.run", f"muster.hb.{node['id']}", "muster.in.other.x",
            f"muster.svc.registry.inventory.{node['id']}",
            f"muster.svc.scheduler.sync.{node['id']}",
            "muster.fact.authority.node.x.revoked", "muster.live.authority.rights",
        ):  # fmt: skip
            assert await ci.may_publish(f"muster.in.{ci.name}.x", reply=aim)
            assert await ci.may_publish("muster.svc.registry.list", reply=aim)
        await ci.publish("last")
    again = home.node("one")
    assert {k: again[k] for k in ("state", "inventory")} == {
        k: node[k] for k in ("state", "inventory")
    }
    actions = {one["action"] for one in home.api("GET", f"/audit?after={facts}")["items"]}
    assert actions <= {"account.create", "account.revoke"}


async def test_garbage_wedges_nobody(home: Server, tmp_path: Path) -> None:
    """Thousands of messages on all that it may say; the next good question is answered."""
    bodies = [b"", b"{", b"null", b"[" * 5000, b"\xff" * 100, b'{"x":' + b"9" * 4000 + b"}"]
    async with external(home, tmp_path, "--role", "admin") as ci:
        subjects = [call.subject for call in OUTER if call.needs != ACCOUNT]
        subjects += [ci.credentials.ticket, f"muster.in.{ci.name}.x"]
        headers: list[Any] = [None, {"Muster-Ticket": "x" * 300}, {"Nats-Msg-Id": "\u00e9"}]
        for number in range(10_000):
            body, subject = bodies[number % len(bodies)], subjects[number % len(subjects)]
            await ci.client.publish(subject, body, headers=headers[number % 3])
        await ci.client.flush(timeout=30)
        await asyncio.sleep(1)  # who asks for tickets too often has to wait that long
        code, page = await ci.ask("muster.svc.registry.list", await ci.ticket())
        assert (code, {"one"} <= {one["name"] for one in page["items"]}) == ("", True)
    assert home.api("GET", "/audit/verify")["broken_at"] is None
