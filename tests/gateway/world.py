"""A gateway, and small peers on a real bus that answer the contracts' calls."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from muster.contracts import accounts as e
from muster.contracts import approvals as w
from muster.contracts import authority as a
from muster.contracts import certificates as c
from muster.contracts import devices as d
from muster.contracts import factors as f
from muster.contracts import nodes as n
from muster.contracts import oidc as o
from muster.contracts import passkeys as k
from muster.contracts import people as p
from muster.contracts import records as q
from muster.contracts import runs as r
from muster.contracts.base import NOTHING, Call, Nothing
from muster.contracts.errors import Denied, Expired, NotFound, SecondFactor, Unauthenticated
from muster.contracts.names import new_id
from muster.contracts.policy import ACTIONS, Grant, Role
from muster.gateway.app import gateway
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.bus import Bus, Caller, answers
from muster.kit.identity import tickets
from muster.kit.testing import Broker

NODE = "nabcdefghijklmnop"
RUN = "01jd3v7q3k8x5f0c9r2m4n6p8s"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
PASSWORD = "correct horse"  # noqa: S105
ALL = ["*"]


def node(name: str = "web1", seq: int = 1, **more: Any) -> n.Node:
    """Return a node."""
    metrics = n.Metrics(cpu=12.5, memory_total=4, memory_used=1)
    known = {"id": NODE, "state": "online", "joined": NOW, "state_since": NOW, "seq": seq}
    return n.Node(name=name, metrics=metrics, metrics_at=NOW, **{**known, **more})


def event(seq: int, **more: Any) -> r.RunEvent:
    """Return an event of the run."""
    target = r.TargetView(node=NODE, name="web1", state=r.State.STARTED, seq=seq)
    return r.RunEvent(run=RUN, seq=seq, target=target, **more)


def view(**more: Any) -> r.RunView:
    """Return the run."""
    command = r.Command(argv=["true"])
    known = {"id": RUN, "command": command, "created": NOW, "by": "ada", "expires": NOW}
    return r.RunView(**{**known, **more})


def person(name: str, permissions: list[str], **more: Any) -> a.Person:
    """Return somebody who may do that on all nodes."""
    known = [one for one in permissions if one in {*ACTIONS, "*"}]
    grants = [Grant(actions=known, nodes="all")] if known else []
    return a.Person(name=name, permissions=permissions, **{"grants": grants, **more})


class Peer:
    """Remembers what it was asked, and by whom."""

    def __init__(self) -> None:
        """Begin with nothing asked."""
        self.asked: list[tuple[Any, Caller]] = []

    def note(self, ask: Any, caller: Caller) -> None:
        """Remember a question."""
        self.asked.append((ask, caller))

    def last(self, kind: type) -> Any:
        """Return the last question of a kind."""
        return next(ask for ask, _ in reversed(self.asked) if isinstance(ask, kind))

    def count(self, kind: type) -> int:
        """Return how many questions of a kind there were."""
        return sum(isinstance(ask, kind) for ask, _ in self.asked)


def canned(call: Call[Any, Any], answer: Any) -> Any:
    """Return a method of a peer that always gives the same answer."""

    async def method(self: Peer, ask: Any, caller: Caller) -> Any:
        self.note(ask, caller)
        return answer

    return answers(call)(method)


JOINED = a.Joined(node=NODE, jwt="j", authority_keys=["k"], epoch=1, urls=["nats://h:1"])
USER = p.User(name="li", created=NOW)
ACCOUNT = e.Account(name="ci", created=NOW, expires=NOW)
CREDENTIALS = e.AccountCredentials(
    name="ci", jwt="j", expires=NOW, urls=["nats://h:1"], inbox="i", publish="p", ticket="t"
)
PASSKEY = k.Passkey(id=RUN, name="<phone>", created=NOW)
INVITATION = p.Invitation(name="li", secret="s3cret", expires=NOW)  # noqa: S106


class Authority(Peer):
    """People and their sessions."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Sign tickets with *key*."""
        super().__init__()
        self.revision = 1
        self.key = key
        self.people: dict[str, a.Person] = {}
        self.sessions: dict[str, str] = {}
        self.two_steps: set[str] = set()
        self.life = 300.0

    @answers(a.LOGIN)
    async def login(self, ask: a.Login, caller: Caller) -> a.Session:
        """Begin a session."""
        self.note(ask, caller)
        if ask.name not in self.people or ask.password != PASSWORD:
            raise Unauthenticated("the name or the password is wrong")
        if ask.name in self.two_steps and not ask.code:
            who = a.Person(name=ask.name)
            half = {"secret": "half-a-secret", "person": who, "expires": NOW, "needs_code": True}
            return a.Session(**half, passkey=True)
        secret = f"secret-{len(self.sessions)}-of-{ask.name}"
        self.sessions[secret] = ask.name
        later = datetime.now(UTC) + timedelta(hours=1)
        return a.Session(secret=secret, person=self.people[ask.name], expires=later)

    @answers(a.EXCHANGE)
    async def exchange(self, ask: a.Exchange, caller: Caller) -> a.Granted:
        """Give a ticket."""
        self.note(ask, caller)
        app = ask.secret.startswith("app-")
        if ask.secret not in self.sessions or app != bool(ask.name):
            raise Unauthenticated("log in again")
        if app and self.sessions[ask.secret] != ask.name:
            raise Unauthenticated("log in again")
        person = self.people[self.sessions[ask.secret]]
        now = datetime.now(UTC)
        expires = now + timedelta(seconds=self.life)
        ticket = a.Ticket(
            person=person,
            session=new_id(),
            origin=ask.origin,
            issued=now,
            expires=expires,
            revision=self.revision,
        )
        return a.Granted(ticket=tickets.sign(ticket, self.key), person=person, expires=expires)

    @answers(a.LOGOUT)
    async def logout(self, ask: a.Exchange, caller: Caller) -> Nothing:
        """End a session."""
        self.note(ask, caller)
        self.sessions.pop(ask.secret, None)
        return NOTHING

    @answers(a.CHANGE_PASSWORD)
    async def password(self, ask: a.ChangePassword, caller: Caller) -> Nothing:
        """Change the password."""
        self.note(ask, caller)
        if ask.old != PASSWORD:
            raise Unauthenticated("the password is wrong")
        person = self.people[caller.name]
        self.people[caller.name] = person.model_copy(update={"must_change_password": False})
        return NOTHING

    @answers(a.CREATE_JOIN_TOKEN)
    async def create_token(self, ask: a.CreateJoinToken, caller: Caller) -> a.JoinTokenCreated:
        """Make a token."""
        self.note(ask, caller)
        return a.JoinTokenCreated(id=new_id(), secret="s3cret", expires=NOW)  # noqa: S106

    @answers(a.LIST_JOIN_TOKENS)
    async def list_tokens(self, ask: Nothing, caller: Caller) -> a.JoinTokens:
        """List the tokens."""
        self.note(ask, caller)
        token = a.JoinToken(id=new_id(), created=NOW, created_by="ada", expires=NOW)
        return a.JoinTokens(items=[token])

    @answers(a.REVOKE_JOIN_TOKEN)
    async def revoke_token(self, ask: a.RevokeJoinToken, caller: Caller) -> Nothing:
        """Revoke a token."""
        self.note(ask, caller)
        return NOTHING

    news = canned(c.CA_NEWS, c.CaNews(ca="ours", vouchers=["old"]))

    @answers(a.JOIN)
    async def join(self, ask: a.Join, caller: Caller) -> a.Joined:
        """Admit a host."""
        self.note(ask, caller)
        if ask.secret != "s3cret":  # noqa: S105
            raise Denied("the token is not valid")
        return JOINED

    challenge_join = canned(c.JOIN_CHALLENGE, c.JoinChallenge(nonce="n0nce", expires=NOW))
    join_by_certificate = canned(c.JOIN_BY_CERTIFICATE, JOINED)

    @answers(a.REVOKE_NODE)
    async def revoke_node(self, ask: a.RevokeNode, caller: Caller) -> Nothing:
        """Shut a node out."""
        self.note(ask, caller)
        return NOTHING

    list_users = canned(p.LIST_USERS, p.Users(items=[USER]))
    find_user = canned(p.FIND_USER, USER)
    create_user = canned(p.CREATE_USER, INVITATION)
    change_user = canned(p.CHANGE_USER, USER)
    reset_password = canned(p.RESET_PASSWORD, INVITATION)
    delete_user = canned(p.DELETE_USER, NOTHING)
    approve_node = canned(a.APPROVE_NODE, NOTHING)
    approvals = canned(w.LIST_APPROVALS, w.Approvals(items=[]))
    approve = canned(w.APPROVE, NOTHING)
    refuse = canned(w.REFUSE, NOTHING)
    start_device = canned(
        d.START_DEVICE,
        d.DeviceStarted(secret="s3", code="BCDF-GHJK", expires=NOW),  # noqa: S106
    )
    look_at_device = canned(d.LOOK_AT_DEVICE, d.Device(name="<laptop>", address="::1", created=NOW))
    approve_device = canned(d.APPROVE_DEVICE, NOTHING)
    take_device = canned(d.TAKE_DEVICE, d.DeviceTaken())
    start_factor = canned(f.START_FACTOR, f.FactorStarted(secret="ABC", uri="otpauth://totp/x"))  # noqa: S106
    confirm_factor = canned(f.CONFIRM_FACTOR, f.RecoveryCodes(codes=["ab-cd"]))
    show_factor = canned(f.SHOW_FACTOR, NOTHING)
    renew_recovery = canned(f.RENEW_RECOVERY, f.RecoveryCodes(codes=["ab-cd"]))
    drop_factor = canned(f.DROP_FACTOR, NOTHING)
    ways = canned(o.WAYS, o.Ways(provider="<Acme>", passkeys=True))
    my_identity = canned(o.MY_IDENTITY, o.Identity(provider="<Acme>"))
    link_user = canned(o.LINK_USER, NOTHING)
    start_oidc = canned(
        o.START_OIDC, o.OidcStarted(url="https://acme.example/?x=1&y", browser="b4", expires=LATER)
    )
    link_oidc = canned(
        o.LINK_OIDC, o.OidcStarted(url="https://acme.example/?x=1&y", browser="b5", expires=LATER)
    )
    start_passkey = canned(k.START_PASSKEY, k.PasskeyAsked(options='{"user":"<>"}'))
    add_passkey = canned(k.ADD_PASSKEY, k.PasskeyAdded(passkey=PASSKEY, codes=["ab-cd"]))
    list_passkeys = canned(k.LIST_PASSKEYS, k.Passkeys(items=[PASSKEY]))
    rename_passkey = canned(k.RENAME_PASSKEY, NOTHING)
    drop_passkey = canned(k.DROP_PASSKEY, NOTHING)
    ask_for_passkey = canned(k.ASK_FOR_PASSKEY, k.PasskeyAsked(options='{"challenge":"<>"}'))
    ask_for_my_passkey = canned(k.ASK_FOR_MY_PASSKEY, k.PasskeyAsked(options="{}"))
    show_passkey = canned(k.SHOW_PASSKEY, NOTHING)
    list_roles = canned(p.LIST_ROLES, p.Roles(items=[]))
    put_role = canned(p.PUT_ROLE, Role(name="dba"))
    delete_role = canned(p.DELETE_ROLE, NOTHING)
    list_groups = canned(p.LIST_USER_GROUPS, p.UserGroups(items=[]))
    put_group = canned(p.PUT_USER_GROUP, p.UserGroup(name="dba"))
    delete_group = canned(p.DELETE_USER_GROUP, NOTHING)
    credentials = canned(p.LIST_CREDENTIALS, p.Credentials(items=[]))
    revoke_credential = canned(p.REVOKE_CREDENTIAL, NOTHING)
    create_api_token = canned(
        p.CREATE_TOKEN,
        p.TokenCreated(id=RUN, secret="s3cret", expires=NOW),  # noqa: S106
    )
    list_accounts = canned(e.LIST_ACCOUNTS, e.Accounts(items=[]))
    find_account = canned(e.FIND_ACCOUNT, ACCOUNT)
    create_account = canned(e.CREATE_ACCOUNT, CREDENTIALS)
    renew_account = canned(e.RENEW_ACCOUNT, CREDENTIALS)
    revoke_account = canned(e.REVOKE_ACCOUNT, NOTHING)
    may = canned(p.MAY, p.Verdict(action="run.create"))

    @answers(p.RIGHTS_AFTER)
    async def rights(self, ask: p.RightsAfter, caller: Caller) -> p.RightsChanged:  # noqa: ARG002
        """Tell that nothing has changed."""
        return p.RightsChanged(revision=self.revision)

    @answers(f.SECOND_STEP)
    async def second_step(self, ask: f.SecondStep, caller: Caller) -> a.Session:
        """Finish a login that needs a code."""
        self.note(ask, caller)
        if ask.code != "123456":
            raise SecondFactor("that code is wrong, or was used")
        self.sessions["secret-of-two"] = "two"
        self.people["two"] = person("two", ["*"])
        later = datetime.now(UTC) + timedelta(hours=1)
        return a.Session(secret="secret-of-two", person=self.people["two"], expires=later)  # noqa: S106

    @answers(k.LOGIN_BY_PASSKEY)
    async def login_by_passkey(self, ask: k.LoginByPasskey, caller: Caller) -> a.Session:
        """Let in whose browser says yes, as ada."""
        self.note(ask, caller)
        if ask.response != '"yes"':
            raise Unauthenticated("this passkey is not known here")
        self.sessions["secret-by-passkey"] = "ada"
        later = datetime.now(UTC) + timedelta(hours=1)
        return a.Session(secret="secret-by-passkey", person=self.people["ada"], expires=later)  # noqa: S106

    @answers(o.FINISH_OIDC)
    async def finish_oidc(self, ask: o.FinishOidc, caller: Caller) -> o.OidcFinished:
        """Let in who brings the right things back, as ada."""
        self.note(ask, caller)
        if ask.error:
            raise Denied(f"Acme says no: {ask.error}")
        if (ask.state, ask.browser) != ("s1", "b4"):
            raise Expired("this login has taken too long, or was used: begin again")
        if ask.code == "link":
            return o.OidcFinished(next="/identity")
        self.sessions["secret-by-acme"] = "ada"
        later = datetime.now(UTC) + timedelta(hours=1)
        made = a.Session(secret="secret-by-acme", person=self.people["ada"], expires=later)  # noqa: S106
        return o.OidcFinished(session=made, next="//evil.example")

    @answers(p.ACCEPT)
    async def accept(self, ask: p.Accept, caller: Caller) -> a.Session:
        """Begin a session for who was invited."""
        self.note(ask, caller)
        if ask.secret != "s3cret":  # noqa: S105
            raise NotFound("this invitation is not known")
        self.sessions["secret-of-li"] = "li"
        self.people["li"] = person("li", ["*"])
        later = datetime.now(UTC) + timedelta(hours=1)
        return a.Session(secret="secret-of-li", person=self.people["li"], expires=later)  # noqa: S106

    @answers(a.LIST_AUDIT)
    async def audit(self, ask: a.ListAudit, caller: Caller) -> a.AuditPage:
        """List the audit."""
        self.note(ask, caller)
        record = a.AuditRecord(
            seq=1, at=NOW, who="ada", action="run.create", result="ok", hash="0" * 64
        )
        return a.AuditPage(items=[record])

    @answers(a.VERIFY_AUDIT)
    async def verify(self, ask: Nothing, caller: Caller) -> a.AuditVerdict:
        """Verify the audit."""
        self.note(ask, caller)
        return a.AuditVerdict(records=1, head="0" * 64)

    @answers(q.CHECK_NODE)
    async def check_node(self, ask: q.CheckNode, caller: Caller) -> q.NodeCheck:
        """Compare a node's own record."""
        self.note(ask, caller)
        return q.NodeCheck(node=ask.node, at=NOW, records=1)


class Registry(Peer):
    """Nodes."""

    def __init__(self) -> None:
        """Begin with one node."""
        super().__init__()
        self.epoch = "e1"
        self.changes = [node()]

    def _find(self, name: str) -> n.Node:
        for one in self.changes:
            if name in {one.id, one.name}:
                return one
        raise NotFound(f"there is no node {name}")

    @answers(n.LIST_NODES)
    async def list(self, ask: n.ListNodes, caller: Caller) -> n.NodePage:
        """List nodes."""
        self.note(ask, caller)
        return n.NodePage(items=self.changes, next="")

    @answers(n.RESOLVE)
    async def resolve(self, ask: n.Targets, caller: Caller) -> n.Resolved:
        """Say which nodes are meant."""
        self.note(ask, caller)
        return n.Resolved(items=[n.Target(id=NODE, name="web1", state=n.NodeState.ONLINE)])

    @answers(n.NODES_SINCE)
    async def since(self, ask: n.NodesSince, caller: Caller) -> n.NodeChanges:
        """Tell what changed."""
        self.note(ask, caller)
        seq = max((one.seq for one in self.changes), default=0)
        if ask.epoch != self.epoch:
            return n.NodeChanges(epoch=self.epoch, seq=seq, reset=True)
        items = [one for one in self.changes if one.seq > ask.after]
        return n.NodeChanges(epoch=self.epoch, seq=seq, items=items)

    @answers(n.FIND_NODE)
    async def find(self, ask: n.FindNode, caller: Caller) -> n.Node:
        """Find a node."""
        self.note(ask, caller)
        return self._find(ask.node)

    @answers(n.RENAME_NODE)
    async def rename(self, ask: n.RenameNode, caller: Caller) -> n.Node:
        """Rename a node."""
        self.note(ask, caller)
        return self._find(ask.node).model_copy(update={"name": ask.name})

    @answers(n.TAG_NODE)
    async def tag(self, ask: n.TagNode, caller: Caller) -> n.Node:
        """Tag a node."""
        self.note(ask, caller)
        return self._find(ask.node).model_copy(update={"tags": ask.put})

    @answers(n.GROUP_NODE)
    async def group(self, ask: n.GroupNode, caller: Caller) -> n.Node:
        """Group a node."""
        self.note(ask, caller)
        return self._find(ask.node).model_copy(update={"groups": ask.add})

    @answers(n.READ_METRICS)
    async def metrics(self, ask: n.ReadMetrics, caller: Caller) -> n.History:
        """Read the history."""
        self.note(ask, caller)
        return n.History(node=self._find(ask.node).id, items=[])

    @answers(n.FLEET_STATS)
    async def stats(self, ask: Nothing, caller: Caller) -> n.FleetStats:
        """Count nodes."""
        self.note(ask, caller)
        return n.FleetStats(nodes=1, online=1, offline=0, new=0, revoked=0)


class Scheduler(Peer):
    """Runs."""

    def __init__(self) -> None:
        """Begin with a run in which nothing has happened."""
        super().__init__()
        self.events: list[r.RunEvent] = []
        self.page = 50
        self.outputs: list[r.Output] = []
        self.content = b""
        self.size: Callable[[int], int] | None = None

    @answers(r.CREATE_RUN)
    async def create(self, ask: r.CreateRun, caller: Caller) -> r.RunView:
        """Accept a run."""
        self.note(ask, caller)
        return view(command=ask.command, note=ask.note)

    @answers(r.GET_RUN)
    async def get(self, ask: r.GetRun, caller: Caller) -> r.RunView:
        """Get the run."""
        self.note(ask, caller)
        if not RUN.startswith(ask.run):
            raise NotFound(f"there is no run {ask.run}")
        await asyncio.sleep(min(ask.wait, 0.1))
        return view()

    @answers(r.LIST_RUNS)
    async def list(self, ask: r.ListRuns, caller: Caller) -> r.RunPage:
        """List runs."""
        self.note(ask, caller)
        return r.RunPage(items=[view()])

    @answers(r.CANCEL_RUN)
    async def cancel(self, ask: r.CancelRun, caller: Caller) -> r.RunView:
        """Cancel the run."""
        self.note(ask, caller)
        return view()

    @answers(r.RUN_EVENTS)
    async def told(self, ask: r.RunEventsAfter, caller: Caller) -> r.RunEvents:
        """Tell what happened."""
        self.note(ask, caller)
        if ask.run != RUN:
            raise NotFound(f"there is no run {ask.run}")
        later = [one for one in self.events if one.seq > ask.after]
        items = later[: min(ask.limit, self.page)]
        seq = items[-1].seq if items else ask.after
        return r.RunEvents(items=items, seq=seq, more=len(later) > len(items))

    @answers(r.READ_OUTPUT)
    async def output(self, ask: r.ReadOutput, caller: Caller) -> r.Output:
        """Read a part of the output."""
        self.note(ask, caller)
        for part in self.outputs:
            if part.offset >= ask.offset:
                return part
        raise NotFound("there is no output")

    @answers(r.LIST_FILES)
    async def files(self, ask: r.ListFiles, caller: Caller) -> r.ResultFiles:
        """List result files."""
        self.note(ask, caller)
        return r.ResultFiles(items=[r.ResultFile(path="a/b.txt", size=1, modified=NOW)])

    @answers(r.READ_FILE)
    async def file(self, ask: r.ReadFile, caller: Caller) -> r.FilePart:
        """Read a part of a file."""
        self.note(ask, caller)
        if ask.path == "missing":
            raise NotFound("there is no such file")
        size = self.size(ask.offset) if self.size else len(self.content)
        return r.FilePart(data=self.content[ask.offset : ask.offset + ask.limit], size=size)


@dataclass
class World:
    """Everything that a test needs: the gateway's address and the peers behind it."""

    url: str
    settings: Settings
    bus: Bus
    """The scheduler's connection."""
    registry_bus: Bus
    authority_bus: Bus
    authority: Authority
    registry: Registry
    scheduler: Scheduler

    async def change_rights(self, name: str, permissions: list[str], *, told: bool = True) -> None:
        """Let somebody have other rights from now on; if *told*, the gateway hears of it."""
        self.authority.people[name] = person(name, permissions)
        self.authority.revision += 1
        change = p.RightsChanged(revision=self.authority.revision, names=[name])
        self.bus.rights.heard(change)
        self.registry_bus.rights.heard(change)
        if told:
            await self.authority_bus.tell(p.RIGHTS_CHANGED, change)

    def asked(self, kind: type) -> list[tuple[Any, Caller]]:
        """Return the questions of a kind that any peer was asked, with their callers."""
        peers = (self.authority, self.registry, self.scheduler)
        return [pair for peer in peers for pair in peer.asked if isinstance(pair[0], kind)]

    def forget(self) -> None:
        """Let the peers forget what they were asked."""
        for peer in (self.authority, self.registry, self.scheduler):
            peer.asked.clear()

    def secret(self, permissions: list[str] = ALL, name: str = "ada", **more: Any) -> str:
        """Return the secret of a new session of a person with *permissions*."""
        self.authority.people[name] = person(name, permissions, **more)
        secret = f"token-{len(self.authority.sessions)}-of-{name}"
        self.authority.sessions[secret] = name
        return secret

    def client(self, permissions: list[str] | None = ALL, **more: Any) -> httpx.AsyncClient:
        """Return an HTTP client of a program with *permissions*; None: nobody."""
        headers = {}
        if permissions is not None:
            headers["Authorization"] = f"Bearer {self.secret(permissions, **more)}"
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=20, trust_env=False)

    @asynccontextmanager
    async def browser(
        self, permissions: list[str] = ALL, **more: Any
    ) -> AsyncGenerator[httpx.AsyncClient]:
        """Open an HTTP client that has logged in as a browser does."""
        self.authority.people["ada"] = person("ada", permissions, **more)
        async with self.client(None) as client:
            body = {"name": "ada", "password": PASSWORD}
            answer = await client.post("/api/v1/login", json=body)
            assert answer.status_code == 200, answer.text
            yield client


def csrf(client: httpx.AsyncClient) -> dict[str, str]:
    """Return the header that shows that a browser's request is not forged."""
    return {"X-Muster-CSRF": client.cookies["muster_csrf"]}


@asynccontextmanager
async def world(broker: Broker, **settings: Any) -> AsyncGenerator[World]:
    """Open a gateway and its peers."""
    authority, registry, scheduler = Authority(broker.authority_key), Registry(), Scheduler()
    options = Settings(data_dir=broker.data_dir, port=0, **settings)
    async with AsyncExitStack() as stack:
        peers = {"authority": authority, "registry": registry, "scheduler": scheduler}
        lines: dict[str, Bus] = {}
        for name, peer in peers.items():
            line = await stack.enter_async_context(broker.connect(name))
            await stack.enter_async_context(line.serving(peer, name=name, version="0.1.0"))
            lines[name] = line
        bus = await stack.enter_async_context(broker.connect("gateway"))
        app = await stack.enter_async_context(gateway(bus, options))
        url = await stack.enter_async_context(listening(app, options))
        yield World(
            url,
            options,
            lines["scheduler"],
            lines["registry"],
            lines["authority"],
            authority,
            registry,
            scheduler,
        )
