"""``muster user``: who may come in, and with which roles."""

from typing import Any, Final

import click

from muster.cli import human
from muster.cli.asking import confirm
from muster.cli.client import path
from muster.cli.commands.user_group import group
from muster.cli.durations import Duration
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, facts, form_option, one_option, to_json

_PAGE: Final = 1000


def _state(row: Row) -> str:
    if row["disabled"]:
        return "disabled"
    return "invited" if row["invited"] else "active"


def _roles(row: Row) -> list[str]:
    """Return the roles by hand and those by the identity provider's groups."""
    return sorted({*row["roles"], *row.get("mapped_roles", ())})


_STYLES: Final = {"disabled": "red", "invited": "yellow", "active": "green"}
COLUMNS: Final = (
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column("full_name", lambda row: row["full_name"], rank=2),
    Column(
        "state",
        _state,
        lambda row: t(f"user_state.{_state(row)}"),
        lambda row: _STYLES[_state(row)],
    ),
    Column("roles", lambda row: ",".join(_roles(row))),
    Column("groups", lambda row: ",".join(row["groups"]), rank=1),
    Column(
        "factor",
        lambda row: row["second_factor"],
        lambda row: "✓" * row["second_factor"],
        rank=4,
    ),
    Column("seen", lambda row: row.get("seen"), lambda row: human.ago(row.get("seen")), rank=3),
)


@click.group(help=t("user.help"))
def user() -> None:
    """See, invite and change people."""


user.add_command(group)


@user.command("ls", help=t("user.ls.help"))
@click.argument("query", default="", metavar=t("meta.query"))
@form_option
@connected
def ls(session: Session, /, query: str, form: str) -> None:
    """List users."""
    rows: list[Row] = []
    cursor = ""
    while True:
        page = session.client.get("/users", query=query, limit=_PAGE, cursor=cursor, people=True)
        rows += page["items"]
        cursor = page.get("next") or ""
        if not cursor:
            break
    emit(form, rows, COLUMNS, name="name")


@user.command("show", help=t("user.show.help"))
@click.argument("name", metavar=t("meta.user"))
@one_option
@connected
def show(session: Session, /, name: str, form: str) -> None:
    """Show one user."""
    _tell(session.client.get(path("users", name)), form)


def _tell(told: Row, form: str) -> None:
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    facts(
        [
            ("name", told["name"]),
            ("full_name", told["full_name"]),
            ("state", t(f"user_state.{_state(told)}")),
            ("roles", ", ".join(told["roles"])),
            ("mapped_roles", ", ".join(told.get("mapped_roles", ()))),
            ("groups", ", ".join(told["groups"])),
            ("subject", told.get("subject")),
            ("created", human.local(told["created"])),
            ("seen", human.ago(told.get("seen"))),
        ]
    )


@user.command("invite", help=t("user.invite.help"))
@click.argument("name", metavar=t("meta.user"))
@click.option("--full-name", default="", metavar=t("meta.text"), help=t("user.full_name"))
@click.option("--role", "roles", multiple=True, metavar=t("meta.role"), help=t("user.role"))
@click.option("--group", "groups", multiple=True, metavar=t("meta.group"), help=t("user.group"))
@click.option("--ttl", type=Duration(), default="3d", show_default=True, help=t("user.ttl"))
@one_option
@connected
def invite(  # noqa: PLR0913, PLR0917  # one argument per option
    session: Session,
    /,
    name: str,
    full_name: str,
    roles: tuple[str, ...],
    groups: tuple[str, ...],
    ttl: float,
    form: str,
) -> None:
    """Let somebody in: print the link at which they choose a password."""
    body = {
        "name": name,
        "full_name": full_name,
        "roles": list(roles),
        "groups": list(groups),
        "ttl": ttl,
    }
    _link(session, session.client.send("POST", "/users", body), form)


@user.command("reset", help=t("user.reset.help"))
@click.argument("name", metavar=t("meta.user"))
@click.option("--ttl", type=Duration(), default="1d", show_default=True, help=t("user.ttl"))
@click.option("--factor", is_flag=True, help=t("user.reset.factor"))
@one_option
@connected
def reset(session: Session, /, name: str, ttl: float, form: str, *, factor: bool) -> None:
    """End everything that a user has open; print the link for a new password."""
    body = {"ttl": ttl, "factor": factor}
    _link(session, session.client.send("POST", path("users", name, "reset"), body), form)


def _link(session: Session, told: Row, form: str) -> None:
    """Print the link of an invitation; it is told only once."""
    link = f"{session.load().url}/invitation?code={told['secret']}"
    if form == "json":
        click.echo(to_json({**told, "link": link}, indent=2))
        return
    span = human.until(told["expires"])
    click.echo(t("user.link", name=human.safe(told["name"]), span=span), err=True)
    click.echo(link)


@user.command("set", help=t("user.set.help"))
@click.argument("name", metavar=t("meta.user"))
@click.option("--full-name", metavar=t("meta.text"), help=t("user.full_name"))
@click.option("--role", "add", multiple=True, metavar=t("meta.role"), help=t("user.set.role"))
@click.option("--no-role", "drop", multiple=True, metavar=t("meta.role"), help=t("user.set.drop"))
@click.option("--group", "enter", multiple=True, metavar=t("meta.group"), help=t("user.set.group"))
@click.option(
    "--no-group", "leave", multiple=True, metavar=t("meta.group"), help=t("user.set.leave")
)
@click.option("--disable/--enable", "disabled", default=None, help=t("user.set.disable"))
@one_option
@connected
def change(  # noqa: PLR0913, PLR0917  # one argument per option
    session: Session,
    /,
    name: str,
    full_name: str | None,
    add: tuple[str, ...],
    drop: tuple[str, ...],
    enter: tuple[str, ...],
    leave: tuple[str, ...],
    *,
    disabled: bool | None,
    form: str,
) -> None:
    """Change a user; it takes effect at once."""
    where = path("users", name)
    body: dict[str, Any] = {}
    if full_name is not None:
        body["full_name"] = full_name
    if disabled is not None:
        body["disabled"] = disabled
    if add or drop or enter or leave:
        now = session.client.get(where)
        if add or drop:
            body["roles"] = sorted((set(now["roles"]) | set(add)) - set(drop))
        if enter or leave:
            body["groups"] = sorted((set(now["groups"]) | set(enter)) - set(leave))
    if not body:
        raise click.UsageError(t("user.set.nothing"))
    _tell(session.client.send("PATCH", where, body), form)


@user.command("rm", help=t("user.rm.help"))
@click.argument("name", metavar=t("meta.user"))
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
def rm(session: Session, /, name: str, *, yes: bool) -> None:
    """Remove a user with all sessions and tokens."""
    confirm(t("user.rm.confirm", name=human.safe(name)), yes=yes)
    session.client.send("DELETE", path("users", name))
    click.echo(t("user.removed", name=human.safe(name)), err=True)


@user.command("link", help=t("user.link.help"))
@click.argument("name", metavar=t("meta.user"))
@click.argument("subject", metavar=t("meta.subject"))
@connected
def link(session: Session, /, name: str, subject: str) -> None:
    """Link a user with the identity provider's name of them."""
    session.client.send("PUT", path("users", name, "identity"), {"subject": subject})
    click.echo(t("user.linked", name=human.safe(name)), err=True)


@user.command("unlink", help=t("user.unlink.help"))
@click.argument("name", metavar=t("meta.user"))
@connected
def unlink(session: Session, /, name: str) -> None:
    """Undo it."""
    session.client.send("PUT", path("users", name, "identity"), {"subject": ""})
    click.echo(t("user.unlinked", name=human.safe(name)), err=True)
