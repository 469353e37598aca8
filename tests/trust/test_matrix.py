"""Every door, and everybody before it: routes, topics and calls come from the code's own lists."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from docs.generate import constants
from muster.contracts.authority import Person, Ticket
from muster.contracts.base import ACCOUNT, NODE, SERVICE, Call
from muster.contracts.errors import Denied, MusterError, Superseded, Unauthenticated
from muster.contracts.names import new_id
from muster.contracts.policy import NODES, SERVER
from muster.contracts.policy import ROLES as BUILTIN
from muster.kit import policy
from muster.kit.identity import tickets
from muster.kit.identity.nkeys import Key
from muster.kit.identity.world import INNER
from tests.contracts import examples
from tests.system.conftest import Server
from tests.trust.conftest import PASSWORD, ROLES, People, on_the_bus, ticket_of, world_of

RUN = "01jd3v7q3k8x5f0c9r2m4n6p8s"
GONE = "nzzzzzzzzzzzzzzzz"
CLOSED = ("anonymous", "expired", "disabled")

PATHS = {
    "node": GONE, "run": RUN, "name": "m-gone", "credential": RUN, "token": RUN,
    "passkey": RUN,
    "stream": "stdout",
}  # fmt: skip
QUERIES = {"getVerdict": "?action=run.create", "getFile": "?path=x"}
BODIES: dict[str, Any] = {
    "changePassword": {"old": "not the old one", "new": "a new password"},
    "createApiToken": {"name": "m", "scopes": ["node.read"]},
    "createUser": {"name": "admin"},
    "updateUser": {},
    "linkUser": {},
    "putRole": {"grants": [], "version": 99},
    "putUserGroup": {"roles": ["no-such-role"]},
    "resolveTargets": {"names": ["m-gone"]},
    "updateNode": {"name": "m-new"},
    "tagNode": {"put": {"a": "b"}},
    "groupNode": {"add": ["g"]},
    "createRun": {"command": {"argv": ["true"]}, "targets": {"names": ["m-gone"]}},
    "refuseRun": {"reason": "no"},
    "createToken": {"ttl": 1},
    "startFactor": {"password": "wrong"},
    "confirmFactor": {"code": "1"},
    "showFactor": {"code": "1"},
    "renewRecovery": {"code": "1"},
    "dropFactor": {"password": "wrong", "code": "1"},
    "renamePasskey": {"name": "x"},
    "dropPasskey": {"password": "wrong"},
    "revokeNode": {},
    "createAccount": {"name": "admin", "key": Key.generate("U").public},
}
"""A body that fits, for every route that wants one, and that changes nothing of others."""

OWN_REFUSALS = {
    "changePassword": "the old password is wrong",
    "startFactor": "the password is wrong",
    "confirmFactor": "begin anew",
    "showFactor": "second_factor",
    "renewRecovery": "second_factor",
    "dropFactor": "the password is wrong",
    "renamePasskey": "you have no such passkey",
    "dropPasskey": "the password is wrong",
}

STRICTER = {"listUserCredentials": "user.read"}
"""Routes that everybody may ask about themselves; about others they need more."""

OWN_TEST = {"getFigures", "logout"}
"""Open to the machine itself; ends the session with which the rest is asked."""


def described(server: Server) -> list[tuple[str, str, str, str]]:
    """Return every route: operation, method, path, permission."""
    with People(server, {"": ""}).client("") as client:
        document = client.get("/openapi.json").json()
    return [
        (one["operationId"], method.upper(), path, one["x-permission"])
        for path, operations in document["paths"].items()
        for method, one in operations.items()
        if path.startswith("/api/v1")
    ]


def place(path: str, values: dict[str, str]) -> str:
    """Return the path of a route with *values* in it, below the root of the API."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], path.removeprefix("/api/v1"))


def may(who: str, needed: str) -> bool:
    """Say whether a role should get past the door, from the roles' own grants."""
    if who == "elsewhere":
        return needed in {*policy.permissions([]), "self"} or needed in NODES
    grants = BUILTIN[who].grants if who in BUILTIN else []
    return policy.allows(policy.permissions(grants), needed)


def test_every_route_opens_to_whom_it_says(home: Server, people: People) -> None:
    """401 for who is nobody, 403 for who may not, and neither for who may."""
    wrong = []
    for who in (*CLOSED, *ROLES, "elsewhere"):
        with people.client(who) as client:
            for operation, method, path, needed in described(home):
                if operation in OWN_TEST or needed == "public":
                    continue
                where = place(path, PATHS)
                body = BODIES.get(operation)
                answer = client.request(method, where + QUERIES.get(operation, ""), json=body)
                needs = STRICTER.get(operation, needed)
                if who in CLOSED:
                    fits = answer.status_code == 401
                elif operation in OWN_REFUSALS:  # past the door, where another one waits
                    fits = OWN_REFUSALS[operation] in answer.text
                else:
                    fits = (answer.status_code != 403) == may(who, needs)
                    fits &= answer.status_code not in {400, 401} and answer.status_code < 500
                if not fits:
                    wrong.append((who, operation, answer.status_code, answer.text[:120]))
    assert wrong == []


def test_an_app_password_opens_what_has_declared_it(home: Server, people: People) -> None:
    """By its name, what reads and says so; as a token, or with a real password, nothing."""
    actions = sorted({*NODES, *SERVER} - {"metrics.read"})  # all of them would be refused
    with people.client("admin") as admin:
        body = {"name": "drive", "scopes": actions, "app": True}
        secret = admin.post("/me/tokens", json=body).json()["secret"]
        document = admin.get("/openapi.json").json()
    basic = {
        one["operationId"]
        for operations in document["paths"].values()
        for one in operations.values()
        if one.get("x-basic")
    }
    wrong = []
    with people.client("anonymous") as client:
        for operation, method, path, needed in described(home):
            if operation in OWN_TEST or needed == "public":
                continue
            where = place(path, PATHS) + QUERIES.get(operation, "")
            body = BODIES.get(operation) or {}
            ways: dict[str, Any] = {
                "app": {"auth": ("m-admin", secret)},
                "bearer": {"headers": {"Authorization": f"Bearer {secret}"}},
                "password": {"auth": ("m-admin", PASSWORD)} if operation == "getMe" else {},
            }
            for way, more in ways.items():
                status = client.request(method, where, json=body, **more).status_code
                if (status not in {401, 403}) != (way == "app" and operation in basic):
                    wrong.append((operation, way, status))
    assert wrong == []


def test_who_may_elsewhere_sees_nothing_here(home: Server, people: People) -> None:
    """Neither a node's name nor its id comes back from any route; nothing happens to it."""
    node = home.node("one")
    run = home.run(["true"], "one")
    home.over(run)
    here = {**PATHS, "node": "one", "run": run}
    bodies = {
        **BODIES,
        "resolveTargets": {"names": ["one"]},
        "createRun": {"command": {"argv": ["true"]}, "targets": {"names": ["one"]}},
    }
    leaks = []
    with people.client("elsewhere") as client:
        for operation, method, path, _ in described(home):
            if operation in OWN_TEST | {"getCa", "join", "login", *OWN_REFUSALS}:
                continue
            where = place(path, {**here, "node": node["id"]} if "{run}" in path else here)
            url, body = where + QUERIES.get(operation, ""), bodies.get(operation)
            answer = client.request(method, url, json=body)
            told = "" if node["id"] in url else answer.text
            about = "{node}" in path or "{run}" in path or operation == "createRun"
            if node["id"] in told or (about and answer.status_code not in {403, 404}):
                leaks.append((operation, answer.status_code, answer.text[:200]))
        assert client.get("/nodes").json()["items"] == []
        assert client.get("/fleet/stats").json()["online"] == 0
        assert client.get("/runs").json()["items"] == []
    assert leaks == []
    assert {k: home.node("one")[k] for k in ("name", "tags", "groups")} == {
        k: node[k] for k in ("name", "tags", "groups")
    }


@pytest.mark.parametrize("topic", ["nodes", "run"])
def test_every_topic_opens_to_whom_it_says(home: Server, people: People, topic: str) -> None:
    """The door refuses who is nobody, the topic who may not read it."""
    run = home.run(["true"], "one")
    home.over(run)
    name = f"run:{run}" if topic == "run" else topic
    needed = {"run": "run.read", "nodes": "node.read"}[topic]
    url = home.url.replace("http", "ws", 1) + "/api/v1/events"
    for who in (*CLOSED, *ROLES, "elsewhere"):
        secret = people.secrets[who]
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        if who in CLOSED:
            with pytest.raises(InvalidStatus) as refused, connect(url, additional_headers=headers):
                pass
            assert refused.value.response.status_code == 401, who
            continue
        with connect(url, additional_headers=headers) as line:
            line.send(json.dumps({"subscribe": name}))
            told = json.loads(line.recv(timeout=10))
            if who == "elsewhere":
                code = told.get("error", {}).get("code", "")
                assert (
                    code == "not_found"
                    if topic == "run"
                    else home.node("one")["id"] not in str(told)
                )
            else:
                allowed = told.get("error", {}).get("code") != "denied"
                assert allowed == may(who, needed), (who, told)


def calls() -> dict[str, Call[Any, Any]]:
    """Return every call that the gateway may ask for people; the broker sees to the others."""
    return {
        name: call
        for name, call in constants(Call).items()
        if call.needs not in {ACCOUNT, NODE, SERVICE} and call not in INNER
    }


async def asked(bus: Any, call: Call[Any, Any], ticket: str | None) -> str:
    """Ask with an example; return the code of the error, or nothing."""
    question = call.ask.model_validate(examples.least(call.ask))
    try:
        await bus.ask(call, question, ticket=ticket, timeout=20)
    except MusterError as error:
        return error.code
    return ""


OWN_RULES = {"LIST_CREDENTIALS"}
"""About others they need more."""


def forged(key: Ed25519PrivateKey, seconds: float, revision: int, name: str = "m-admin") -> str:
    """Return a ticket of an administrator that *key* has signed."""
    grants = BUILTIN["admin"].grants
    boss = Person(name=name, roles=["admin"], permissions=["*"], grants=grants)
    now = datetime.now(UTC)
    lives = {"issued": now, "expires": now + timedelta(seconds=seconds)}
    return tickets.sign(Ticket(person=boss, session=new_id(), revision=revision, **lives), key)


async def test_a_worthless_ticket_opens_nothing(home: Server, people: People) -> None:
    """None, one of another key, an old one, one from before the rights changed, and garbage."""
    genuine = world_of(home).authority_key
    worthless = {
        "none": None,
        "forged": forged(Ed25519PrivateKey.generate(), 300, 1 << 40),
        "expired": forged(genuine, -1, 1 << 40),
        "superseded": forged(genuine, 300, 0, "m-disabled"),
        "garbage": "x" * 4000,
    }
    wrong = []
    async with on_the_bus(home, "gateway") as bus:
        for name, call in calls().items():
            for kind, ticket in worthless.items():
                code = await asked(bus, call, ticket)
                if code not in {Unauthenticated.code, Superseded.code}:
                    wrong.append((name, kind, code))
    assert wrong == []


async def test_every_call_opens_to_whom_it_says(home: Server, people: People) -> None:
    """On the bus itself, past the gateway: the service decides again, by the ticket."""
    wrong = []
    async with on_the_bus(home, "gateway") as bus:
        for who in (*ROLES, "elsewhere"):
            ticket = await ticket_of(bus, people.secrets[who])
            for name, call in calls().items():
                code = await asked(bus, call, ticket)
                expected = may(who, call.needs)
                if expected and (code == Denied.code or name in OWN_RULES):
                    continue  # past the door; the thing itself has a rule of its own
                if (code != Denied.code) != expected:
                    wrong.append((name, who, code))
    assert wrong == []


def test_every_call_says_who_may_ask() -> None:
    """A call without a policy, or with one that nobody can hold, does not get in."""
    known = {ACCOUNT, SERVICE, NODE, "self", *NODES, *SERVER}
    assert {name for name, call in constants(Call).items() if call.needs not in known} == set()
