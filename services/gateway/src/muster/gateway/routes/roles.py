"""Roles and what they grant; groups of users that have roles together."""

from typing import Annotated

from fastapi import APIRouter, Body, Path, Response
from pydantic import Field

from muster.contracts.base import NOTHING, Message
from muster.contracts.names import Count, Label, Note, ShortText
from muster.contracts.people import (
    DELETE_ROLE,
    DELETE_USER_GROUP,
    LIST_ROLES,
    LIST_USER_GROUPS,
    PUT_ROLE,
    PUT_USER_GROUP,
    Labels,
    RoleName,
    UserGroup,
    UserGroupName,
)
from muster.contracts.policy import Grant, Role
from muster.gateway.gate import Me
from muster.gateway.openapi import declared, relayed

router = APIRouter(tags=["users"])

RoleRef = Annotated[Label, Path(description="the role's name", examples=["night-shift"])]
GroupRef = Annotated[Label, Path(description="the group's name", examples=["dba"])]


class RoleBody(Message):
    """A role; `version` is that of the role as it was read, 0 for a new one."""

    grants: Annotated[list[Grant], Field(max_length=32)] = Field(default_factory=list)
    note: Note = ""
    version: Count = 0


class GroupBody(Message):
    """The roles that everybody in the group has."""

    roles: Labels = Field(default_factory=list)
    note: ShortText = ""


@router.get("/roles", summary="List roles", **relayed(LIST_ROLES, "listRoles"))
async def list_roles(me: Me) -> Response:
    """Answer all roles with their grants, by name."""
    return await me.relay(LIST_ROLES, NOTHING)


_ROLE = {
    "the databases, by day": {
        "value": {
            "grants": [
                {
                    "actions": ["node.read", "run.*"],
                    "nodes": "@db",
                    "run_as": ["postgres"],
                    "during": [
                        {
                            "days": ["mon", "tue", "wed", "thu", "fri"],
                            "start": "08:00",
                            "end": "18:00",
                            "zone": "Asia/Shanghai",
                        }
                    ],
                    "most": 5,
                }
            ]
        }
    }
}


@router.put("/roles/{name}", summary="Make or change a role", **relayed(PUT_ROLE, "putRole"))
async def put_role(
    name: RoleRef, body: Annotated[RoleBody, Body(openapi_examples=_ROLE)], me: Me
) -> Response:
    """Keep the role; refused if somebody has changed it since it was read."""
    return await me.relay(PUT_ROLE, Role(name=name, **body.model_dump()))


@router.delete(
    "/roles/{name}", summary="Delete a role", status_code=204, **declared(DELETE_ROLE, "deleteRole")
)
async def delete_role(name: RoleRef, me: Me) -> None:
    """Delete a role that nobody has."""
    await me.ask(DELETE_ROLE, RoleName(name=name))


@router.get(
    "/user-groups", summary="List groups of users", **relayed(LIST_USER_GROUPS, "listUserGroups")
)
async def list_groups(me: Me) -> Response:
    """Answer all groups of users, by name."""
    return await me.relay(LIST_USER_GROUPS, NOTHING)


@router.put(
    "/user-groups/{name}",
    summary="Make or change a group of users",
    **relayed(PUT_USER_GROUP, "putUserGroup"),
)
async def put_group(name: GroupRef, body: GroupBody, me: Me) -> Response:
    """Keep the group; everybody in it has its roles."""
    return await me.relay(PUT_USER_GROUP, UserGroup(name=name, **body.model_dump()))


@router.delete(
    "/user-groups/{name}",
    summary="Delete a group of users",
    status_code=204,
    **declared(DELETE_USER_GROUP, "deleteUserGroup"),
)
async def delete_group(name: GroupRef, me: Me) -> None:
    """Delete a group; its users lose the roles that they had by it."""
    await me.ask(DELETE_USER_GROUP, UserGroupName(name=name))
