"""``muster role`` and ``muster grant``: what may be done, where, as whom and when."""

from collections.abc import Sequence
from typing import Any, Final

import click

from muster.cli import human
from muster.cli.asking import confirm
from muster.cli.client import path
from muster.cli.failures import Exit, Failure
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, form_option
from muster.cli.windows import Window
from muster.kit.windows import show as show_window

ROLES: Final = (
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("grants", lambda row: len(row["grants"]), right=True),
    Column(
        "builtin", lambda row: row["builtin"], lambda row: "✓" if row["builtin"] else "", rank=2
    ),
    Column("note", lambda row: row["note"], rank=1),
)


def _conditions(row: Row) -> str:
    found = [show_window(one) for one in row["during"]]
    if row.get("most"):
        found.append(t("grant.at_most", n=row["most"]))
    found += [t(f"grant.{name}.short") for name in ("approval", "fresh") if row.get(name)]
    return "; ".join(found)


GRANTS: Final = (
    Column("role", lambda row: row["role"]),
    Column("number", lambda row: row["number"], right=True),
    Column("actions", lambda row: ",".join(row["actions"])),
    Column("nodes", lambda row: row["nodes"]),
    Column("run_as", lambda row: ",".join(row["run_as"]), rank=2),
    Column("conditions", _conditions, rank=1),
)


@click.group(help=t("role.help"))
def role() -> None:
    """See and change roles."""


@role.command("ls", help=t("role.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List roles."""
    emit(form, session.client.get("/roles")["items"], ROLES, name="name")


@role.command("new", help=t("role.new.help"))
@click.argument("name", metavar=t("meta.role"))
@click.option("--note", default="", metavar=t("meta.text"), help=t("role.note"))
@connected
def new(session: Session, /, name: str, note: str) -> None:
    """Make a role that allows nothing yet."""
    session.client.send("PUT", path("roles", name), {"note": note})
    click.echo(t("role.made", name=human.safe(name)), err=True)


@role.command("rm", help=t("role.rm.help"))
@click.argument("name", metavar=t("meta.role"))
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
def rm(session: Session, /, name: str, *, yes: bool) -> None:
    """Delete a role that nobody has."""
    confirm(t("role.rm.confirm", name=human.safe(name)), yes=yes)
    session.client.send("DELETE", path("roles", name))
    click.echo(t("role.removed", name=human.safe(name)), err=True)


@click.group(help=t("grant.help"))
def grant() -> None:
    """See and change what roles allow."""


@grant.command("ls", help=t("grant.ls.help"))
@click.argument("role_name", default="", metavar=t("meta.maybe_role"))
@form_option
@connected
def grants(session: Session, /, role_name: str, form: str) -> None:
    """List what a role allows, or what all of them do."""
    found = [_find(session, role_name)] if role_name else session.client.get("/roles")["items"]
    rows = [
        {"role": one["name"], "number": number, **granted}
        for one in found
        for number, granted in enumerate(one["grants"], 1)
    ]
    emit(form, rows, GRANTS, name="role")


@grant.command("add", help=t("grant.add.help"))
@click.argument("role_name", metavar=t("meta.role"))
@click.argument("actions", nargs=-1, required=True, metavar=t("meta.actions"))
@click.option("--nodes", "-s", default="all", show_default=True, metavar=t("meta.selector"),
              help=t("grant.nodes"))  # fmt: skip
@click.option("--run-as", multiple=True, metavar=t("meta.user"), help=t("grant.run_as"))
@click.option("--during", multiple=True, type=Window(), metavar=t("meta.window"),
              help=t("grant.during"))  # fmt: skip
@click.option("--most", type=click.IntRange(1), help=t("grant.most"))
@click.option("--approval", is_flag=True, help=t("grant.approval"))
@click.option("--fresh", is_flag=True, help=t("grant.fresh"))
@connected
def add(session: Session, /, role_name: str, **granted: Any) -> None:
    """Let everybody with a role do something."""
    found = _find(session, role_name)
    _keep(session, found, [*found["grants"], granted])
    click.echo(t("grant.kept", name=human.safe(role_name), n=len(found["grants"]) + 1), err=True)


@grant.command("rm", help=t("grant.rm.help"))
@click.argument("role_name", metavar=t("meta.role"))
@click.argument("number", type=click.IntRange(1), metavar=t("meta.number"))
@connected
def take(session: Session, /, role_name: str, number: int) -> None:
    """Take a grant out of a role, by its number in the list."""
    found = _find(session, role_name)
    if number > len(found["grants"]):
        raise Failure(t("grant.none", name=human.safe(role_name), number=number), "", Exit.NOTHING)
    _keep(session, found, found["grants"][: number - 1] + found["grants"][number:])
    click.echo(t("grant.removed", name=human.safe(role_name), number=number), err=True)


def _find(session: Session, name: str) -> Row:
    for one in session.client.get("/roles")["items"]:
        if one["name"] == name:
            return dict(one)
    raise Failure(t("role.none", name=human.safe(name)), t("role.none.hint"), Exit.NOTHING)


def _keep(session: Session, found: Row, granted: Sequence[Row]) -> None:
    body = {"grants": list(granted), "note": found["note"], "version": found["version"]}
    session.client.send("PUT", path("roles", found["name"]), body)
