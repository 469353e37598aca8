"""Roles, and groups of people that have roles together."""

from collections.abc import Callable

from sqlalchemy import Connection

from muster.authority import chain, directory
from muster.authority.deciding import Deciding
from muster.authority.part import address_of
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Malformed, NotFound
from muster.contracts.people import (
    DELETE_ROLE,
    DELETE_USER_GROUP,
    LIST_ROLES,
    LIST_USER_GROUPS,
    PUT_ROLE,
    PUT_USER_GROUP,
    RightsChanged,
    RoleName,
    Roles,
    UserGroup,
    UserGroupName,
    UserGroups,
)
from muster.contracts.policy import ROLES, Role
from muster.kit import policy
from muster.kit.bus import Caller, answers


class RoleCalls(Deciding):
    """What roles allow."""

    @answers(LIST_ROLES)
    async def roles(self, ask: Nothing, caller: Caller) -> Roles:  # noqa: ARG002
        """Return all roles, by name."""
        return Roles(items=await self.tools.db.read(directory.all_roles))

    @answers(PUT_ROLE)
    async def put_role(self, ask: Role, caller: Caller) -> Role:
        """Make a role (of version 0), or change one whose version is the given one."""
        if ask.name in ROLES:
            raise Conflict(f"{ask.name} comes with Muster and cannot be changed: make another one")
        if wrong := next(filter(None, map(policy.complaint, ask.grants)), ""):
            raise Malformed(wrong)
        changed = ask.model_copy(update={"builtin": False, "version": ask.version + 1})

        def keep(conn: Connection) -> list[str]:
            before = directory.role(conn, ask.name)
            if ask.version != (before.version if before else 0):
                raise Conflict(f"the role {ask.name} has been changed meanwhile: look at it again")
            self.may_grant(conn, caller, [*ask.grants, *(before.grants if before else ())])
            directory.put_role(conn, changed)
            return directory.holders(conn, role=ask.name)

        detail = changed.model_dump_json(exclude={"builtin"})
        await self._change(caller, "role.put", detail, keep)
        return changed

    @answers(DELETE_ROLE)
    async def delete_role(self, ask: RoleName, caller: Caller) -> Nothing:
        """Delete a role that nobody has."""
        if ask.name in ROLES:
            raise Conflict(f"{ask.name} comes with Muster and cannot be deleted")

        def remove(conn: Connection) -> list[str]:
            before = directory.role(conn, ask.name)
            if before is None:
                raise NotFound(f"there is no role {ask.name}")
            groups = [one.name for one in directory.all_groups(conn) if ask.name in one.roles]
            users = directory.holders(conn, role=ask.name)
            if users or groups:
                named = ", ".join([*users, *groups][:10])
                raise Conflict(f"the role {ask.name} is in use: {named}")
            self.may_grant(conn, caller, before.grants)
            directory.delete_role(conn, ask.name)
            return []

        await self._change(caller, "role.delete", ask.name, remove)
        return NOTHING

    @answers(LIST_USER_GROUPS)
    async def groups(self, ask: Nothing, caller: Caller) -> UserGroups:  # noqa: ARG002
        """Return all groups of people, by name."""
        return UserGroups(items=await self.tools.db.read(directory.all_groups))

    @answers(PUT_USER_GROUP)
    async def put_group(self, ask: UserGroup, caller: Caller) -> UserGroup:
        """Make or change a group of people."""

        def keep(conn: Connection) -> list[str]:
            known = any(one.name == ask.name for one in directory.all_groups(conn))
            self.may_give(conn, caller, ask.roles, [ask.name] if known else [])
            directory.put_group(conn, ask)
            if not directory.has_administrator(conn):
                raise Conflict("this would leave nobody who may do everything")
            return directory.holders(conn, group=ask.name)

        await self._change(caller, "user_group.put", ask.model_dump_json(), keep)
        return ask

    @answers(DELETE_USER_GROUP)
    async def delete_group(self, ask: UserGroupName, caller: Caller) -> Nothing:
        """Delete a group; its people lose the roles that they had by it."""

        def remove(conn: Connection) -> list[str]:
            self.may_give(conn, caller, [], [ask.name])
            members = directory.holders(conn, group=ask.name)
            for name in members:
                row = directory.person(conn, name)
                left = [one for one in row.groups if one != ask.name] if row else []
                directory.change(conn, name, groups=left)
            directory.delete_group(conn, ask.name)
            if not directory.has_administrator(conn):
                raise Conflict("this would leave nobody who may do everything")
            return members

        await self._change(caller, "user_group.delete", ask.name, remove)
        return NOTHING

    async def _change(
        self, caller: Caller, action: str, detail: str, work: Callable[[Connection], list[str]]
    ) -> None:
        """Do *work*, which returns whose rights it touches; on record, and told to all."""
        now = self.tools.now()

        def write(conn: Connection) -> RightsChanged:
            touched = work(conn)
            chain.append(
                conn, caller.name, action, now=now, detail=detail, address=address_of(caller)
            )
            return directory.touched(conn, touched, now)

        await self.tell(await self.tools.db.write(write))
