"""A real node's credentials in the hands of somebody who speaks the raw protocol.

What the broker lets a node say and hear is in `tests/kit/test_identity_world.py`; here is the whole
server, and another node that must not notice anything.
"""

import asyncio
import gc
import json
import time
import unicodedata
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client
from nats.errors import Error

from docs.generate import constants
from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.contracts.base import ACCOUNT, NODE, Call, Event
from muster.contracts.names import new_id
from muster.contracts.nodes import REPORT_INVENTORY, Inventory
from muster.contracts.runs import REPORT, SYNC, Piece, Report, State, Stream, Sync
from muster.kit import bus, wire
from muster.kit.bus import Bus
from tests.contracts import examples
from tests.system.conftest import Server, until
from tests.trust.conftest import People, on_the_bus, ticket_of

HOSTILE = (
    "<script>alert(1)</script>",
    "\x1b[2J\x1b]0;owned\x07",
    "\u202eexe.txt\u202d",
    "=cmd|' /C calc'!A0",
    "../../etc/passwd",
    "muster.cmd.*.>",
    "\u0000\u0007\u200b\ufeff",
    "x" * 10_240,
    "\ud7ff\U0001d54f\U0001f4a3",
    "[link](javascript:alert(1)) **bold** :red[x] $x^2$",
)

HARMFUL = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Controls, what changes the direction, halves of characters, and other ends of lines."""

TOO_LONG = 5_000
"""What no field of a node takes."""


@dataclass
class Evil:
    """A node that joined like any other, and obeys nothing but the test."""

    identity: Identity
    bus: Bus
    refused: list[str] = field(default_factory=list)

    @property
    def client(self) -> Client:
        """The raw connection."""
        return self.bus.client

    async def note(self, error: Exception) -> None:
        """Remember what the broker refuses."""
        self.refused.append(str(error).lower())

    async def forbidden(self) -> bool:
        """Whether the broker has refused something since the last time."""
        for _ in range(2):
            await self.client.flush(timeout=10)
        found = any("permissions violation" in text for text in self.refused)
        self.refused.clear()
        return found


@asynccontextmanager
async def evil(server: Server, name: str = "") -> AsyncGenerator[Evil]:
    """Join a node, and connect with its credentials."""
    agent = server.join(name or f"evil-{new_id()[-6:]}", start=False)
    identity = Identity.load(Home(agent.data_dir))
    async with bus.connect(
        f"nats://127.0.0.1:{server.nats_port}",
        name=identity.node,
        creds=lambda: identity.credentials,
        keys=[],
    ) as line:
        made = Evil(identity, line)
        line.client._error_cb = made.note  # noqa: SLF001 (nats-py has no other way after connect)
        yield made


async def test_no_question_of_anybody_else_is_answered(home: Server, people: People) -> None:
    """Every call of the contracts, bare, with an administrator's stolen ticket, as another node."""
    other = home.node("one")["id"]
    async with evil(home) as node, on_the_bus(home, "gateway") as gateway:
        ticket = await ticket_of(gateway, people.secrets["admin"])
        open_ = []
        for name, call in constants(Call).items():
            body = json.dumps(examples.least(call.ask)).encode()
            own = call.needs in {ACCOUNT, NODE}
            subject = f"{call.subject}.{other}" if own else call.subject
            for headers in (None, {wire.TICKET: ticket}):
                reply = f"{node.bus.inbox}.x"
                await node.client.publish(subject, body, reply=reply, headers=headers)
                if not await node.forbidden():
                    open_.append((name, subject))
        assert open_ == []


async def test_nothing_can_be_told_or_heard_in_the_name_of_others(home: Server) -> None:
    """Every event, every subject of another node, the broker's own interfaces, all wildcards."""
    other = home.node("one")["id"]
    events = [event.subject.format(other) for event in constants(Event).values()]
    subjects = [
        *(one for one in events if not one.startswith("muster.hb.") or other in one),
        *(f"muster.cmd.{other}.{verb}" for verb in ("run", "cancel", "read")),
        *(f"muster.{kind}.{other}.x" for kind in ("ev", "io")),
        "$JS.API.STREAM.DELETE.FACTS", "$JS.API.STREAM.PURGE.FACTS", "$JS.ACK.FACTS.x.1.1.1.1.1",
        "$SYS.REQ.CLAIMS.UPDATE", "$SYS.REQ.SERVER.PING.IDZ",
        f"_INBOX_{other}.x", "_INBOX_gateway.x",
    ]  # fmt: skip
    hear = [*subjects, ">", "*", "*.>", "muster.>", "muster.*.*.>", "_INBOX.>", "$SYS.>", "$JS.>"]
    async with evil(home) as node:
        wrong = []
        for subject in subjects:
            await node.client.publish(subject, b"{}")
            if not await node.forbidden():
                wrong.append(("say", subject))
        for subject in hear:
            made = await node.client.subscribe(subject)
            if not await node.forbidden():
                wrong.append(("hear", subject))
                await made.unsubscribe()
            else:
                node.client._subs.pop(made._id, None)  # noqa: SLF001 (the broker has none)
        assert wrong == []


async def test_answers_cannot_be_turned_onto_others(home: Server) -> None:
    """A question whose reply subject is another node's command, a service, a stream: no answer."""
    other = home.node("one")["id"]
    me: str
    before = home.api("GET", "/audit?limit=1")["items"][0]["seq"]
    async with evil(home) as node, on_the_bus(home, "scheduler") as watcher:
        me = node.identity.node
        for reply in (
            f"muster.cmd.{other}.run", f"muster.cmd.{other}.cancel", "muster.svc.authority.sign",
            "muster.svc.authority.exchange", "$JS.API.STREAM.DELETE.FACTS", f"_INBOX_{other}.1",
            f"{watcher.inbox}.forged", "muster.hb." + other,
        ):  # fmt: skip
            for call, ask in ((SYNC, Sync()), (REPORT_INVENTORY, Inventory(hostname="x", os="x"))):
                await node.client.publish(f"{call.subject}.{me}", wire.pack(ask), reply=reply)
            await node.client.flush()
        answer = await node.bus.ask(SYNC, Sync(), node=me)  # its own way is open still
    assert answer.commands == []
    run = home.run(["echo", "well"], "one")
    assert home.over(run)["targets"][0]["state"] == "done"
    actions = {
        r["action"] for r in home.api("GET", "/audit?limit=50")["items"] if r["seq"] > before
    }
    assert actions <= {"run.run", "node.join", "token.create", "join_token.create"}, actions


async def test_results_of_another_node_cannot_be_forged(home: Server) -> None:
    """Neither a state nor output of a run that runs on another node alone."""
    run = home.run(["sleep", "2"], "one")
    async with evil(home) as node:
        me = node.identity.node
        piece = Piece(stream=Stream.OUT, offset=0, data=b"forged")
        for state in State:
            forged = Report(
                run=run, command=new_id(), state=state, stdout=6, pieces=[piece], exit=0
            )
            await node.bus.ask(REPORT, forged, node=me)
    view = home.over(run)
    assert [(one["name"], one["state"]) for one in view["targets"]] == [("one", "done")]
    assert home.output(run, home.node("one")["id"]) == b""


async def test_what_a_node_says_is_harmless_to_read(home: Server) -> None:
    """In the terminal, in CSV and in JSON, in every field that it can fill."""
    async with evil(home, "mouth") as node:
        me = node.identity.node
        for text in HOSTILE:
            await hostile(home, node, me, text)
            for words in (("node", "ls"), ("node", "show", "mouth"), ("node", "ls", "-o", "csv"),
                          ("node", "show", "mouth", "-o", "json"), ("node", "ls", "-o", "jsonl"),
                          ("runs", "ls"), ("runs", "show", home_run(home))):  # fmt: skip
                said = home.muster(*words)
                assert said.returncode == 0, (words, said.stderr)
                kinds = set(map(unicodedata.category, said.stdout.replace("\n", "")))
                assert not kinds & HARMFUL, (words, text)
                if words[-1] == "csv":
                    cells = said.stdout.replace('"', "").replace("\n", ",").split(",")
                    assert not [cell for cell in cells if cell[:1] in set("=+@")], (words, text)


def home_run(home: Server) -> str:
    """Return the newest run."""
    return str(home.api("GET", "/runs?limit=1")["items"][0]["id"])


async def hostile(home: Server, node: Evil, me: str, text: str) -> None:
    """Say *text* wherever a node can say something; what is too long is refused, not kept."""
    free = ("hostname", "os", "os_family", "kernel", "architecture", "cpu", "timezone", "user")
    inventory = {**dict.fromkeys(free, text), "cores": len(text)}
    subject = f"{REPORT_INVENTORY.subject}.{me}"
    await node.client.request(subject, json.dumps(inventory).encode(), timeout=10)
    taken = home.node("mouth")["inventory"] or {"cores": 0}
    assert (taken["cores"] == len(text)) == (len(text) < TOO_LONG)  # else nothing was tried
    run = home.run(["true"], "mouth")
    reason = {"run": run, "command": new_id(), "state": "failed", "reason": text, "exit": 1}
    await node.client.request(f"{REPORT.subject}.{me}", json.dumps(reason).encode(), timeout=10)
    home.api("POST", f"/runs/{run}/cancel")


pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Have the sockets of refused attempts collected, which nats-py leaves open."""
    yield
    gc.collect()


async def test_a_flood_delays_nobody_else(home: Server) -> None:
    """One node shouts on each of its subjects as fast as it can; the others are served."""

    def quick() -> float:
        began = time.monotonic()
        assert home.over(home.run(["true"], "two"))["targets"][0]["state"] == "done"
        return time.monotonic() - began

    calm = sorted([await asyncio.to_thread(quick) for _ in range(5)])[2]
    async with evil(home) as node:
        me = node.identity.node
        wrong = Report(run=new_id(), command=new_id(), state=State.DONE)
        beat = json.dumps({"at": datetime.now(UTC).isoformat(), "version": "x" * 100}).encode()
        said = [(f"{REPORT.subject}.{me}", wire.pack(wrong)), (f"{SYNC.subject}.{me}", b"{}")]
        said.append((f"muster.hb.{me}", beat))
        shouting = asyncio.create_task(shout(node, said))  # noqa: TID251
        try:
            await asyncio.sleep(0.2)
            delays = [await asyncio.to_thread(quick) for _ in range(8)]
        finally:
            shouting.cancel()
    assert max(delays) < calm + 3.0, (calm, delays)  # without a brake it takes 5 to 40 s
    records = home.api("GET", "/audit?action=node.suspend")["items"]
    assert [one["nodes"] for one in records] == [[me]]
    assert {home.node(name)["state"] for name in ("one", "two")} == {"online"}


async def shout(node: Evil, said: list[tuple[str, bytes]]) -> None:
    """Say everything again and again, as fast as the connection takes it, and come back."""
    while True:
        try:
            for _ in range(50):
                for subject, body in said:
                    await node.client.publish(subject, body, reply=f"{node.bus.inbox}.x")
            await asyncio.sleep(0)
        except Error:  # it was cut
            await asyncio.sleep(0.02)


async def test_copied_credentials_are_noticed(make_server: Callable[..., Server]) -> None:
    """Two that live at the same time: on the node, and in the audit."""
    server = make_server()
    server.data_dir.mkdir(mode=0o700)
    (server.data_dir / "muster.toml").write_text("[registry]\nclone_after = 1\n")
    await asyncio.to_thread(server.start)
    agent = await asyncio.to_thread(server.join, "cloned")
    identity = Identity.load(Home(agent.data_dir))
    async with bus.connect(
        f"nats://127.0.0.1:{server.nats_port}", name=identity.node,
        creds=lambda: identity.credentials,
    ):  # fmt: skip
        await asyncio.to_thread(
            until, lambda: "used twice" in server.node("cloned")["trouble"], 20, "an alert"
        )
    records = server.api("GET", "/audit?action=node.clone")["items"]
    assert [(one["result"], one["nodes"]) for one in records] == [("alert", [agent.id])]
    await asyncio.to_thread(until, lambda: not server.node("cloned")["trouble"], 20, "calm")
