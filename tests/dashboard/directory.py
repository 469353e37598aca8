"""People, roles and service accounts for tests: the REST of the contracts, over a small team."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from muster.contracts.accounts import Account, Accounts
from muster.contracts.base import Message
from muster.contracts.names import new_id
from muster.contracts.people import (
    Credential,
    Credentials,
    Invitation,
    Roles,
    User,
    UserGroup,
    UserGroups,
    Users,
)
from muster.contracts.policy import ROLES, Grant, Role

NOW = datetime.now(UTC)
NASTY = "[x](javascript:alert(1)) <img src=x onerror=alert(1)> :red[y] \u202eevil"


def user(name: str, **more: Any) -> User:
    """Return a person."""
    return User(name=name, created=NOW - timedelta(days=90), **more)


def account(name: str, **more: Any) -> Account:
    """Return a service account."""
    subjects = [f"muster.in.{name}.>", f"muster.svc.authority.ticket.{name}"]
    subjects += ["muster.svc.registry.list", "muster.svc.scheduler.create"]
    given: dict[str, Any] = {"expires": NOW + timedelta(days=61), "subjects": subjects}
    return Account(name=name, created=NOW - timedelta(days=29), **(given | more))


def told(message: Message, status: int = 200) -> Response:
    """Return a message as the gateway does."""
    return Response(message.model_dump_json(), status, media_type="application/json")


def refused(status: int, code: str, detail: str) -> Response:
    """Return a refusal as the gateway does."""
    body = {"title": code, "status": status, "detail": detail, "code": code}
    return JSONResponse(body, status, media_type="application/problem+json")


@dataclass
class Directory:
    """A team; what was asked of it is remembered."""

    users: dict[str, User] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    accounts: dict[str, Account] = field(default_factory=dict)
    ways: list[Credential] = field(default_factory=list)
    sent: list[tuple[str, str, Any]] = field(default_factory=list)
    """Method, path and body of what was changed."""

    def __post_init__(self) -> None:
        """Fill it."""
        seen = NOW - timedelta(minutes=3)
        people = [
            user("admin", roles=["admin"], seen=seen, second_factor=True),
            user("li", full_name="李华", roles=["operator"], groups=["night"], seen=seen),
            user("mallory", full_name=NASTY, roles=["viewer"], disabled=True),
            user("wu", full_name="Wu Min", roles=["dba", "viewer"], invited=True),
        ]
        self.users = {one.name: one for one in people}
        dba = Grant(
            actions=["node.read", "run.*"], nodes="@db", run_as=["postgres"], most=5, approval=True,
            during=[{"days": ["mon", "tue", "wed", "thu", "fri"], "start": "08:00", "end": "18:00",
                     "zone": "Asia/Shanghai"}],
        )  # fmt: skip
        sees = Grant(actions=["node.read"], nodes="all")
        made = Role(name="dba", grants=[dba, sees], note=NASTY, version=3)
        self.roles = {one.name: one for one in sorted([*ROLES.values(), made], key=str)}
        ended = account("old-sensor", expires=None, subjects=[], note=NASTY)
        ci = account("ci", roles=["operator"], note="the build server", seen=seen)
        shut = account("sensors", disabled=True, roles=["viewer"], subjects=[])
        self.accounts = {one.name: one for one in (ci, ended, shut)}
        times = {"created": NOW - timedelta(days=2), "expires": NOW + timedelta(days=9)}
        known = {"person": "li", "seen": seen, "address": "192.0.2.7", **times}
        self.ways = [
            Credential(id=new_id(), kind="session", agent=NASTY, **known),
            Credential(id=new_id(), kind="token", name="grafana", scopes=["node.read"], **known),
            Credential(id=new_id(), kind="app", name="drive", scopes=["run.read"], **known),
        ]

    async def list_users(self, request: Request) -> Response:
        """List those that fit."""
        query = request.query_params
        found = [one for one in self.users.values() if query.get("query", "") in one.name]
        assert query["people"] == "true"
        return told(Users(items=found))

    async def invite(self, request: Request) -> Response:
        """Give a link."""
        body = await self._note(request)
        return told(Invitation(name=body["name"], secret="minv_s3cret", expires=NOW), 201)  # noqa: S106

    async def find(self, request: Request) -> Response:
        """Find a person."""
        one = self.users.get(request.path_params["name"])
        return told(one) if one else refused(404, "not_found", "there is no such user")

    async def change(self, request: Request) -> Response:
        """Change a person or a service account."""
        name, body = request.path_params["name"], await self._note(request)
        if name in self.accounts:
            update = {"disabled": body["disabled"]}
            self.accounts[name] = self.accounts[name].model_copy(update=update)
            return told(user(name, account=True))
        self.users[name] = self.users[name].model_copy(update=body)
        return told(self.users[name])

    async def reset(self, request: Request) -> Response:
        """Give a link."""
        await self._note(request)
        name = request.path_params["name"]
        return told(Invitation(name=name, secret="minv_s3cret", expires=NOW))  # noqa: S106

    async def credentials(self, request: Request) -> Response:
        """List ways in."""
        name = request.path_params["name"]
        return told(Credentials(items=[one for one in self.ways if one.person == name]))

    async def end(self, request: Request) -> Response:
        """End a way in."""
        await self._note(request)
        id_ = request.path_params["id"]
        self.ways = [one for one in self.ways if one.id != id_]
        return Response(status_code=204)

    async def list_roles(self, _request: Request) -> Response:
        """List roles."""
        return told(Roles(items=list(self.roles.values())))

    async def list_groups(self, _request: Request) -> Response:
        """List groups."""
        return told(UserGroups(items=[UserGroup(name="night"), UserGroup(name="day")]))

    async def put_role(self, request: Request) -> Response:
        """Keep a role, if it is the one that was read."""
        name, body = request.path_params["name"], await self._note(request)
        before = self.roles.get(name)
        if body["version"] != (before.version if before else 0):
            return refused(409, "conflict", f"the role {name} has been changed meanwhile")
        role = Role(name=name, **body)
        self.roles[name] = role.model_copy(update={"version": role.version + 1})
        return told(self.roles[name])

    async def delete_role(self, request: Request) -> Response:
        """Delete a role."""
        await self._note(request)
        del self.roles[request.path_params["name"]]
        return Response(status_code=204)

    async def list_accounts(self, _request: Request) -> Response:
        """List service accounts."""
        return told(Accounts(items=list(self.accounts.values())))

    async def revoke_account(self, request: Request) -> Response:
        """Shut one out."""
        await self._note(request)
        del self.accounts[request.path_params["name"]]
        return Response(status_code=204)

    async def _note(self, request: Request) -> Any:
        body = await request.json() if await request.body() else None
        self.sent.append((request.method, request.url.path.removeprefix("/api/v1"), body))
        return body

    def routes(self, api: str) -> list[Route]:
        """Return its routes."""
        return [
            Route(f"{api}/users", self.list_users),
            Route(f"{api}/users", self.invite, methods=["POST"]),
            Route(f"{api}/users/{{name}}", self.find),
            Route(f"{api}/users/{{name}}", self.change, methods=["PATCH"]),
            Route(f"{api}/users/{{name}}/reset", self.reset, methods=["POST"]),
            Route(f"{api}/users/{{name}}/credentials", self.credentials),
            Route(f"{api}/credentials/{{id}}", self.end, methods=["DELETE"]),
            Route(f"{api}/roles", self.list_roles),
            Route(f"{api}/roles/{{name}}", self.put_role, methods=["PUT"]),
            Route(f"{api}/roles/{{name}}", self.delete_role, methods=["DELETE"]),
            Route(f"{api}/user-groups", self.list_groups),
            Route(f"{api}/accounts", self.list_accounts),
            Route(f"{api}/accounts/{{name}}", self.revoke_account, methods=["DELETE"]),
        ]
