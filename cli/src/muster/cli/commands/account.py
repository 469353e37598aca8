"""``muster account``: external systems with credentials for the broker.

The key is made here, and only its public half is sent: the server never knows what is in the file.
"""

from copy import copy
from pathlib import Path
from typing import Final

import click

from muster.cli import human
from muster.cli.asking import confirm
from muster.cli.client import path
from muster.cli.commands.user import change
from muster.cli.durations import Duration
from muster.cli.failures import Failure
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, facts, form_option, one_option, to_json


def _state(row: Row) -> str:
    if row["disabled"]:
        return "disabled"
    return "active" if row.get("expires") else "expired"


_STYLES: Final = {"disabled": "red", "expired": "yellow", "active": "green"}
COLUMNS: Final = (
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column(
        "state",
        _state,
        lambda row: t(f"account_state.{_state(row)}"),
        lambda row: _STYLES[_state(row)],
    ),
    Column("roles", lambda row: ",".join(row["roles"])),
    Column("groups", lambda row: ",".join(row["groups"]), rank=3),
    Column(
        "expires",
        lambda row: row.get("expires"),
        lambda row: human.local(row.get("expires")),
        rank=1,
    ),
    Column("seen", lambda row: row.get("seen"), lambda row: human.ago(row.get("seen")), rank=2),
    Column("note", lambda row: row["note"], rank=4),
)
_file = click.option(
    "--creds", type=click.Path(path_type=Path), metavar=t("meta.path"), help=t("account.creds")
)
_expires = click.option(
    "--expires", type=Duration(), default="90d", show_default=True, help=t("account.expires")
)


@click.group(help=t("account.help"))
def account() -> None:
    """See and change service accounts."""


_change = copy(change)  # an account is a user, but for what people read
_change.help = t("account.set.help")
account.add_command(_change, "set")


@account.command("ls", help=t("account.ls.help"))
@form_option
@connected
def ls(session: Session, /, form: str) -> None:
    """List service accounts."""
    emit(form, session.client.get("/accounts")["items"], COLUMNS, name="name")


@account.command("show", help=t("account.show.help"))
@click.argument("name", metavar=t("meta.name"))
@one_option
@connected
def show(session: Session, /, name: str, form: str) -> None:
    """Show one service account, and what it may publish and ask."""
    told = session.client.get(path("accounts", name))
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    facts(
        [
            ("name", told["name"]),
            ("note", told["note"]),
            ("state", t(f"account_state.{_state(told)}")),
            ("roles", ", ".join(told["roles"])),
            ("groups", ", ".join(told["groups"])),
            ("created", human.local(told["created"])),
            ("expires", human.local(told.get("expires"))),
            ("seen", human.ago(told.get("seen"))),
            ("key", told["key"]),
        ]
    )
    for subject in told["subjects"]:
        click.echo(f"  {human.safe(subject)}")


@account.command("new", help=t("account.new.help"))
@click.argument("name", metavar=t("meta.name"))
@click.option("--role", "roles", multiple=True, metavar=t("meta.role"), help=t("account.role"))
@click.option("--group", "groups", multiple=True, metavar=t("meta.group"), help=t("account.group"))
@click.option("--note", default="", metavar=t("meta.text"), help=t("account.note"))
@_expires
@_file
@one_option
@connected
def new(  # noqa: PLR0913  # one argument per option
    session: Session,
    /,
    *,
    name: str,
    roles: tuple[str, ...],
    groups: tuple[str, ...],
    note: str,
    expires: float,
    creds: Path | None,
    form: str,
) -> None:
    """Let an external system in: make its key, and write its credentials."""
    from muster.kit.identity.nkeys import Key  # noqa: PLC0415  # start-up time

    file = _place(name, creds)
    if file.exists():
        raise Failure(t("account.exists", path=file), t("account.exists.hint"))
    key = Key.generate("U")
    body = {"name": name, "key": key.public, "roles": list(roles), "groups": list(groups)}
    told = session.client.send("POST", "/accounts", {**body, "note": note, "ttl": expires})
    _write(file, told, key.seed)
    _tell(told, file, form)


@account.command("renew", help=t("account.renew.help"))
@click.argument("name", metavar=t("meta.name"))
@click.option("--new-key", is_flag=True, help=t("account.new_key"))
@_expires
@_file
@one_option
@connected
def renew(  # one argument per option
    session: Session, /, name: str, expires: float, creds: Path | None, form: str, *, new_key: bool
) -> None:
    """Write fresh credentials, for the key in the file or for another one."""
    from muster.kit.client import Credentials  # noqa: PLC0415  # start-up time
    from muster.kit.identity.nkeys import Key  # noqa: PLC0415

    file = _place(name, creds)
    try:
        key = Key.generate("U") if new_key else Credentials.from_file(file).key
    except (OSError, ValueError, IndexError) as error:
        hint = t("account.no_file.hint")
        raise Failure(t("account.no_file", path=file, error=error), hint) from error
    body = {"key": key.public, "ttl": expires}
    told = session.client.send("POST", path("accounts", name, "renew"), body)
    _write(file, told, key.seed)
    _tell(told, file, form)


def _place(name: str, creds: Path | None) -> Path:
    """Return the file for the credentials; its directory has to be there."""
    file = creds or Path(f"{Path(name).name}.creds")
    if not file.absolute().parent.is_dir():
        raise click.UsageError(t("account.no_dir", path=file.parent))
    return file


def _write(file: Path, told: Row, seed: str) -> None:
    """Write the credentials for their owner alone, and the CA beside them."""
    from muster.kit.files import write_private  # noqa: PLC0415  # start-up time
    from muster.kit.identity.natsjwt import creds_text  # noqa: PLC0415

    try:
        write_private(file, creds_text(told["jwt"], seed))
        if told["ca"]:
            _ca(file).write_text(told["ca"])
    except OSError as error:
        hint = t("account.unwritten.hint", name=human.safe(told["name"]))
        raise Failure(t("account.unwritten", path=file, error=error.strerror), hint) from error


def _ca(file: Path) -> Path:
    return file.with_suffix(".ca.pem")


def _tell(told: Row, file: Path, form: str) -> None:
    """Say what a client of NATS has to know."""
    if form == "json":
        click.echo(to_json({**told, "creds": str(file)}, indent=2))
        return
    facts(
        [
            ("creds", file),
            ("ca_file", _ca(file) if told["ca"] else ""),
            ("urls", " ".join(told["urls"])),
            ("inbox", told["inbox"]),
            ("publish", f"{told['publish']}.>"),
            ("ticket", told["ticket"]),
            ("expires", human.local(told["expires"])),
        ]
    )


@account.command("revoke", help=t("account.revoke.help"))
@click.argument("name", metavar=t("meta.name"))
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
def revoke(session: Session, /, name: str, *, yes: bool) -> None:
    """Shut an external system out, at once and for good."""
    confirm(t("account.revoke.confirm", name=human.safe(name)), yes=yes)
    session.client.send("DELETE", path("accounts", name))
    click.echo(t("account.revoked", name=human.safe(name)), err=True)
