"""``muster user group``: people who have roles together."""

from typing import Final

import click

from muster.cli import human
from muster.cli.asking import confirm
from muster.cli.client import path
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, emit, form_option

COLUMNS: Final = (
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("roles", lambda row: ",".join(row["roles"])),
    Column("note", lambda row: row["note"], rank=1),
)


@click.group(help=t("user_group.help"))
def group() -> None:
    """See and change groups of people."""


@group.command("ls", help=t("user_group.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List groups of people."""
    emit(form, session.client.get("/user-groups")["items"], COLUMNS, name="name")


@group.command("set", help=t("user_group.set.help"))
@click.argument("name", metavar=t("meta.group"))
@click.option("--role", "roles", multiple=True, metavar=t("meta.role"), help=t("user_group.role"))
@click.option("--note", default="", metavar=t("meta.text"), help=t("user_group.note"))
@connected
def put(session: Session, /, name: str, roles: tuple[str, ...], note: str) -> None:
    """Make a group, or give one these roles and no others."""
    body = {"roles": list(roles), "note": note}
    told = session.client.send("PUT", path("user-groups", name), body)
    roles_text = ", ".join(told["roles"]) or "-"
    click.echo(t("user_group.kept", name=human.safe(name), roles=roles_text), err=True)


@group.command("rm", help=t("user_group.rm.help"))
@click.argument("name", metavar=t("meta.group"))
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
def rm(session: Session, /, name: str, *, yes: bool) -> None:
    """Delete a group; its people lose the roles that they had by it."""
    confirm(t("user_group.rm.confirm", name=human.safe(name)), yes=yes)
    session.client.send("DELETE", path("user-groups", name))
    click.echo(t("user_group.removed", name=human.safe(name)), err=True)
