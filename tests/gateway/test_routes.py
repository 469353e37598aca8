"""Every route: what it asks the bus, what it answers, and how it refuses."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from muster.contracts import accounts as e
from muster.contracts import authority as a
from muster.contracts import certificates as c
from muster.contracts import factors as f
from muster.contracts import nodes as n
from muster.contracts import passkeys as k
from muster.contracts import people as p
from muster.contracts import records as q
from muster.contracts import runs as r
from muster.contracts.approvals import Approve, ListApprovals, Refuse
from muster.contracts.base import Nothing
from muster.contracts.oidc import LinkUser
from muster.contracts.policy import Role
from muster.gateway.app import gateway
from muster.gateway.server import listening
from muster.gateway.settings import Settings
from muster.kit.identity.certificates import create_ca, fingerprint
from muster.kit.testing import Broker
from tests.gateway.world import NODE, RUN, World, world

A_GRANT = {"actions": ["run.*"], "nodes": "@db"}
KEY = "U" + "A" * 55
A_RUN = {"command": {"argv": ["true"]}, "targets": {"all": True}}

ROUTES: list[tuple[str, str, Any, int, type, dict[str, Any]]] = [
    ("GET", "/nodes?query=we&state=online&limit=5", None, 200, n.ListNodes, {"query": "we"}),
    ("GET", "/nodes/web1", None, 200, n.FindNode, {"node": "web1"}),
    ("PATCH", "/nodes/web1", {"name": "db1"}, 200, n.RenameNode, {"name": "db1"}),
    ("PATCH", "/nodes/web1", {}, 200, n.FindNode, {"node": "web1"}),
    ("POST", "/nodes/web1/tags", {"put": {"a": "b"}}, 200, n.TagNode, {"put": {"a": "b"}}),
    ("POST", "/nodes/web1/groups", {"add": ["g"]}, 200, n.GroupNode, {"add": ["g"]}),
    ("POST", "/nodes/web1/approve", None, 204, a.ApproveNode, {"node": NODE}),
    ("POST", "/nodes/web1/revoke", {"reason": "old"}, 204, a.RevokeNode, {"node": NODE}),
    ("POST", f"/nodes/{NODE}/revoke", {}, 204, a.RevokeNode, {"node": NODE}),
    ("GET", "/nodes/web1/metrics?points=9", None, 200, n.ReadMetrics, {"points": 9}),
    ("GET", "/nodes/web1/metrics/latest", None, 200, n.FindNode, {"node": "web1"}),
    ("POST", "/nodes/resolve", {"selector": "w*"}, 200, n.Targets, {"selector": "w*"}),
    ("GET", "/fleet/stats", None, 200, Nothing, {}),
    ("GET", "/join-tokens", None, 200, Nothing, {}),
    ("POST", "/join-tokens", {"ttl": 60}, 201, a.CreateJoinToken, {"ttl": 60}),
    ("DELETE", f"/join-tokens/{RUN}", None, 204, a.RevokeJoinToken, {"id": RUN}),
    ("POST", "/runs", A_RUN, 202, r.CreateRun, {"key": ""}),
    ("GET", "/runs?limit=3&active=true", None, 200, r.ListRuns, {"limit": 3, "active": True}),
    ("GET", "/runs/01jd?wait=0.1", None, 200, r.GetRun, {"run": "01jd", "wait": 0.1}),
    ("POST", f"/runs/{RUN}/cancel", None, 200, r.CancelRun, {"nodes": []}),
    ("POST", f"/runs/{RUN}/cancel", {"nodes": [NODE]}, 200, r.CancelRun, {"nodes": [NODE]}),
    ("GET", f"/runs/{RUN}/events?after=3", None, 200, r.RunEventsAfter, {"after": 3}),
    ("GET", f"/runs/{RUN}/files/{NODE}", None, 200, r.ListFiles, {"node": NODE}),
    ("GET", "/audit?who=ada&action=run.", None, 200, a.ListAudit, {"action": "run."}),
    ("GET", "/audit/verify", None, 200, Nothing, {}),
    ("GET", "/nodes/web1/record", None, 200, q.CheckNode, {"node": NODE}),
    ("GET", "/users?query=l&limit=3", None, 200, p.ListUsers, {"query": "l", "limit": 3}),
    ("POST", "/users", {"name": "li", "roles": ["x"]}, 201, p.CreateUser, {"roles": ["x"]}),
    ("GET", "/users/li", None, 200, p.FindUser, {"name": "li"}),
    ("PATCH", "/users/li", {"disabled": True}, 200, p.ChangeUser, {"name": "li", "roles": None}),
    ("POST", "/users/li/reset", {"ttl": 60}, 200, p.ResetPassword, {"name": "li", "ttl": 60}),
    ("PUT", "/users/li/identity", {"subject": "x"}, 204, LinkUser, {"name": "li", "subject": "x"}),
    ("DELETE", "/users/li", None, 204, p.FindUser, {"name": "li"}),
    ("PUT", "/roles/dba", {"grants": [A_GRANT]}, 200, Role, {"name": "dba", "version": 0}),
    ("DELETE", "/roles/dba", None, 204, p.RoleName, {"name": "dba"}),
    ("GET", "/user-groups", None, 200, Nothing, {}),
    ("PUT", "/user-groups/dba", {"roles": ["x"]}, 200, p.UserGroup, {"roles": ["x"]}),
    ("POST", f"/approvals/{RUN}/approve", None, 204, Approve, {"run": RUN}),
    ("POST", f"/approvals/{RUN}/refuse", {"reason": "no"}, 204, Refuse, {"reason": "no"}),
    ("DELETE", "/user-groups/dba", None, 204, p.UserGroupName, {"name": "dba"}),
    ("GET", "/accounts", None, 200, Nothing, {}),
    ("POST", "/accounts", {"name": "ci", "key": KEY}, 201, e.CreateAccount, {"key": KEY}),
    ("GET", "/accounts/ci", None, 200, e.AccountName, {"name": "ci"}),
    ("POST", "/accounts/ci/renew", {"ttl": 60}, 200, e.RenewAccount, {"key": None, "ttl": 60}),
    ("DELETE", "/accounts/ci", None, 204, e.AccountName, {"name": "ci"}),
]

OWN: list[tuple[str, str, Any, int, type, dict[str, Any]]] = [
    ("GET", "/users/li/credentials", None, 200, p.ListCredentials, {"person": "li"}),
    ("GET", "/approvals?limit=3", None, 200, ListApprovals, {"limit": 3}),
    ("POST", "/me/factor", {"password": "x"}, 200, f.StartFactor, {"password": "x"}),
    ("POST", "/me/factor/confirm", {"code": "1"}, 200, f.ConfirmFactor, {"code": "1"}),
    ("POST", "/me/factor/show", {"code": "1"}, 204, f.ShowFactor, {"code": "1"}),
    ("POST", "/me/factor/recovery", {"code": "1"}, 200, f.ShowFactor, {"code": "1"}),
    ("POST", "/me/factor/drop", {"password": "x", "code": "1"}, 204, f.DropFactor, {"code": "1"}),
    ("GET", "/me/passkeys", None, 200, Nothing, {}),
    ("PATCH", f"/me/passkeys/{RUN}", {"name": "x"}, 204, k.RenamePasskey, {"id": RUN, "name": "x"}),
    ("POST", f"/me/passkeys/{RUN}/drop", {"password": "x"}, 204, k.DropPasskey, {"id": RUN}),
    ("GET", "/roles", None, 200, Nothing, {}),
    ("GET", "/me/credentials", None, 200, p.ListCredentials, {"person": None}),
    ("DELETE", f"/credentials/{RUN}", None, 204, p.RevokeCredential, {"id": RUN}),
    ("POST", "/me/tokens", {"name": "ci"}, 201, p.CreateToken, {"name": "ci", "scopes": ["*"]}),
    ("GET", "/me/can?action=run.create", None, 200, p.AskVerdict, {"action": "run.create"}),
]
"""For everybody who has logged in; the authority decides by what or whom it is asked about."""


async def test_a_route_asks_the_bus_as_the_visitor(here: World) -> None:
    """The question carries what the request said, and the visitor's own ticket."""
    async with here.client() as client:
        for method, path, body, status, kind, asked in [*ROUTES, *OWN]:
            here.forget()
            answer = await client.request(method, f"/api/v1{path}", json=body)
            assert answer.status_code == status, (path, answer.text)
            ask, caller = here.asked(kind)[-1]
            assert {name: getattr(ask, name) for name in asked} == asked, path
            assert caller.name == "ada"


async def test_a_route_refuses_who_has_not_logged_in(here: World) -> None:
    """401, and no service was asked anything."""
    async with here.client(None) as client:
        for method, path, body, *_ in [*ROUTES, *OWN]:
            answer = await client.request(method, f"/api/v1{path}", json=body)
            assert answer.status_code == 401, path
    assert here.registry.asked == here.scheduler.asked == here.authority.asked == []


async def test_a_route_refuses_who_may_not(here: World) -> None:
    """The service itself decides, by the ticket; the gateway passes its refusal on."""
    async with here.client(permissions=["unrelated.right"]) as client:
        for method, path, body, *_ in ROUTES:
            answer = await client.request(method, f"/api/v1{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "denied"), path
    assert here.registry.asked == here.scheduler.asked == []


async def test_every_route_is_in_the_list_above(here: World) -> None:
    """A new route gets these tests by being written down."""
    async with here.client(None) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    elsewhere = {"login", "logout", "getMe", "changePassword", "getCa", "getCaNews", "join"}
    elsewhere |= {"challengeJoin", "joinByCertificate"}
    elsewhere |= {"acceptInvitation", "startDevice", "takeDevice"}
    elsewhere |= {"getOutput", "getFile", "getHealth", "getLiveness", "getReadiness", "getFigures"}
    named = {
        operation["operationId"]
        for operations in document["paths"].values()
        for operation in operations.values()
    }
    tested = {
        operation["operationId"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        if any(_fits(method, path, route) for route in [*ROUTES, *OWN])
    }
    assert named - tested == elsewhere


def _fits(method: str, path: str, route: tuple[Any, ...]) -> bool:
    pattern = re.sub(r"\{\w+\}", "[^/]+", path)
    return method.upper() == route[0] and bool(
        re.fullmatch(pattern, f"/api/v1{route[1].partition('?')[0]}")
    )


async def test_a_run_is_accepted_with_its_place(here: World) -> None:
    """202, where to look for it, and the key that makes a repetition harmless."""
    async with here.client() as client:
        answer = await client.post("/api/v1/runs", json=A_RUN, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/api/v1/runs/{RUN}"
    assert here.scheduler.last(r.CreateRun).key == "k1"


async def test_bytes_travel_as_base64(here: World) -> None:
    """Standard input may hold anything."""
    stdin = bytes(range(256))
    command = {"argv": ["cat"], "stdin": base64.urlsafe_b64encode(stdin).decode()}
    async with here.client() as client:
        await client.post("/api/v1/runs", json={**A_RUN, "command": command})
    assert here.scheduler.last(r.CreateRun).command.stdin == stdin


async def test_a_missing_thing_is_not_found(here: World) -> None:
    """The service's own words reach the person, as a problem document."""
    async with here.client() as client:
        answer = await client.get("/api/v1/nodes/web9")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "urn:muster:error:not_found",
        "title": "There is no such thing, or it is not for the one who asks",
        "status": 404,
        "detail": "there is no node web9",
        "code": "not_found",
    }


async def test_a_node_without_metrics_has_no_latest_ones(here: World) -> None:
    """404, not an empty sample."""
    here.registry.changes = [here.registry.changes[0].model_copy(update={"metrics": None})]
    async with here.client() as client:
        answer = await client.get("/api/v1/nodes/web1/metrics/latest")
    assert answer.json()["detail"] == "web1 has not sent any metrics"


@pytest.mark.parametrize(
    ("method", "path", "body", "fields"),
    [
        ("GET", "/nodes?limit=0", None, ["limit"]),
        ("GET", "/nodes?state=asleep", None, ["state"]),
        ("GET", "/nodes/" + "x" * 300, None, ["node"]),
        ("GET", "/nodes/web1/metrics?start=2026-01-01T00:00:00", None, ["start"]),
        ("PATCH", "/nodes/web1", {"name": "a.*"}, ["name"]),
        ("POST", "/runs", {}, ["command", "targets"]),
        ("POST", "/runs", {**A_RUN, "command": {}}, ["command"]),
        ("POST", "/runs", [], ["body"]),
        ("GET", "/runs/*", None, ["run"]),
        ("GET", f"/runs/{RUN}?wait=31", None, ["wait"]),
        ("POST", "/runs/01jd/cancel", None, ["run"]),
        ("GET", f"/runs/{RUN}/output/web1/stdout", None, ["node"]),
        ("GET", f"/runs/{RUN}/output/{NODE}/stdin", None, ["stream"]),
        ("GET", f"/runs/{RUN}/files/{NODE}/content", None, ["path"]),
        ("DELETE", "/join-tokens/1", None, ["token"]),
        ("GET", "/audit?limit=x", None, ["limit"]),
    ],
)
async def test_what_does_not_fit_is_named(
    here: World, method: str, path: str, body: Any, fields: list[str]
) -> None:
    """400 with the list of the fields that are wrong."""
    async with here.client() as client:
        answer = await client.request(method, f"/api/v1{path}", json=body)
    assert answer.status_code == 400, answer.text
    problem = answer.json()
    assert problem["code"] == "malformed"
    assert [wrong["field"] for wrong in problem["errors"]] == fields


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(here: World) -> None:
    """Programs never have to read a page."""
    async with here.client() as client:
        missing = await client.get("/api/v1/nothing", headers={"Accept": "text/html"})
        wrong = await client.delete("/api/v1/nodes")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "malformed")
    assert wrong.headers["allow"] == "GET"


async def test_an_internal_error_tells_nothing(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What went wrong inside a service stays in its log."""

    def broken(name: str) -> None:
        raise RuntimeError(f"the secret of {name} is 42")

    monkeypatch.setattr(here.registry, "_find", broken)
    async with here.client() as client:
        answer = await client.get("/api/v1/nodes/web1")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal"
    assert "42" not in answer.text


async def test_a_service_that_is_away_is_unavailable(one_broker: Broker) -> None:
    """503 with a hint when to come back, not a hanging request."""
    options = Settings(data_dir=one_broker.data_dir, port=0)
    async with (
        one_broker.connect("gateway") as bus,
        gateway(bus, options) as app,
        listening(app, options) as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        answer = await client.get("/api/v1/me", headers={"Authorization": "Bearer x"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        health = (await client.get("/health")).json()
    assert health["status"] == "degraded"
    assert health["bus"] is True
    assert health["services"] == {"authority": False, "registry": False, "scheduler": False}


async def test_a_join_token_comes_as_one_line(one_broker: Broker, tmp_path: Path) -> None:
    """Address, fingerprint of the CA and secret: a host needs nothing else."""
    ca = create_ca()
    path = tmp_path / "ca.pem"
    path.write_bytes(ca.cert)
    async with (
        world(one_broker, web_ca=path, public_url="http://10.0.0.1:8420") as here,
        here.client() as client,
    ):
        made = (await client.post("/api/v1/join-tokens", json={})).json()
        pem = await client.get("/api/v1/ca", headers={"Authorization": ""})
    kind, _, told = made["line"].partition(".")
    assert kind == "muster1"
    assert json.loads(base64.urlsafe_b64decode(told + "==")) == {
        "u": "http://10.0.0.1:8420",
        "f": fingerprint(ca.cert),
        "s": "s3cret",
    }
    assert made["command"] == f"muster agent join {made['line']}"
    assert pem.content == ca.cert


async def test_what_became_of_the_ca_is_told_to_everybody(here: World) -> None:
    """Nobody has to trust it: everything in it proves itself."""
    async with here.client(None) as client:
        answer = await client.get("/api/v1/ca/news")
    told = {"ca": "ours", "vouchers": ["old"], "notice": None, "keys": []}
    assert (answer.status_code, answer.json()) == (200, told)


async def test_without_a_ca_there_is_none_to_fetch(here: World) -> None:
    """Over plain loopback there is nothing to verify, and the line says so."""
    async with here.client() as client:
        assert (await client.get("/api/v1/ca")).status_code == 404
        line = (await client.post("/api/v1/join-tokens", json={})).json()["line"]
    told = json.loads(base64.urlsafe_b64decode(line.partition(".")[2] + "=="))
    assert (told["u"], told["f"]) == (here.url, "")


JOIN = {
    "secret": "s3cret",
    "public_key": "U" + "A" * 55,
    "hostname": "web1",
    "proof": base64.urlsafe_b64encode(b"\x01" * 64).decode(),
}


async def test_a_host_joins_without_a_login(here: World) -> None:
    """The token is its right; where it came from is filled in by the gateway."""
    async with here.client(None) as client:
        lie = {"origin": {"address": "1.2.3.4"}}
        answer = await client.post("/api/v1/join", json=JOIN | lie)
    assert answer.status_code == 200
    assert a.Joined.model_validate_json(answer.content).node == NODE
    asked = here.authority.last(a.Join)
    assert (asked.proof, asked.origin.address) == (b"\x01" * 64, "127.0.0.1")


PAPERS = {key: value for key, value in JOIN.items() if key != "secret"} | {
    "chain": "a certificate",
    "nonce": "n0nce",
    "signature": base64.urlsafe_b64encode(b"\x02" * 64).decode(),
}


async def test_a_host_joins_by_a_certificate_without_a_login(here: World) -> None:
    """All is passed on as it came: the gateway judges nothing of it."""
    async with here.client(None) as client:
        challenge = await client.post("/api/v1/join/challenge")
        assert challenge.json()["nonce"] == "n0nce"
        lie = {"origin": {"address": "1.2.3.4"}}
        answer = await client.post("/api/v1/join/certificate", json=PAPERS | lie)
    assert a.Joined.model_validate_json(answer.content).node == NODE
    asked = here.authority.last(c.JoinByCertificate)
    assert (asked.chain, asked.nonce) == ("a certificate", "n0nce")
    assert (asked.signature, asked.force) == (b"\x02" * 64, False)
    assert asked.origin.address == "127.0.0.1"


async def test_guessing_join_tokens_is_slow(one_broker: Broker) -> None:
    """One address has few attempts a minute, by whatever door."""
    async with world(one_broker, joins_per_minute=2) as here, here.client(None) as client:
        bad = JOIN | {"secret": "guess"}
        codes = [(await client.post("/api/v1/join", json=bad)).status_code for _ in range(4)]
        codes.append((await client.post("/api/v1/join/certificate", json=PAPERS)).status_code)
    assert codes == [403, 403, 429, 429, 429]
