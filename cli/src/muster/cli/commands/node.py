"""``muster node``: the hosts, what they are called and how they are."""

from collections.abc import Sequence
from typing import Any, Final

import click

from muster.cli import durations, human
from muster.cli.asking import confirm
from muster.cli.client import Client, path
from muster.cli.commands.tokens import token
from muster.cli.completing import complete_nodes
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.tables import Column, Row, emit, facts, form_option, one_option, to_json

_PAGE: Final = 1000
_DOTS: Final = {"online": "●", "offline": "○", "new": "◌", "pending": "◍", "revoked": "✕"}
_STYLES: Final = {
    "online": "green",
    "offline": "red",
    "new": "yellow",
    "pending": "yellow",
    "revoked": "dim",
}
_HIGH: Final = 90.0


@click.group(help=t("node.help"))
def node() -> None:
    """See and change nodes."""


node.add_command(token)


def _metrics(row: Row) -> Row:
    return row.get("metrics") or {}


def _share(part: object, whole: object) -> float | None:
    total = float(str(whole or 0))
    return 100.0 * float(str(part or 0)) / total if total else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}%"


def _cpu(row: Row) -> float | None:
    found = _metrics(row).get("cpu")
    return None if found is None else float(found)


def _memory(row: Row) -> float | None:
    metrics = _metrics(row)
    return _share(metrics.get("memory_used"), metrics.get("memory_total"))


def _full(disk: Row) -> float | None:
    """Return how full a file system is as `df` tells it: what is reserved counts as used."""
    free = disk.get("free")
    return _share(disk["used"], disk["total"] if free is None else disk["used"] + free)


def _fullest(row: Row) -> tuple[float, str] | None:
    """Return the file system that is fuller than the others."""
    shares = [(_full(disk) or 0.0, str(disk["mount"])) for disk in _metrics(row).get("disks") or ()]
    return max(shares, default=None)


def _disk(row: Row) -> float | None:
    fullest = _fullest(row)
    return fullest[0] if fullest else None


def _disk_shown(row: Row) -> str:
    fullest = _fullest(row)
    return f"{fullest[0]:.0f}% {human.safe(fullest[1])[:24]}" if fullest else "-"


def _load(row: Row) -> float | None:
    load = _metrics(row).get("load")
    return float(load[0]) if load else None


def _uptime(row: Row) -> str:
    seconds = _metrics(row).get("uptime")
    return durations.show(float(seconds)) if seconds else "-"


def _warn(value: float | None) -> str:
    return "red" if value is not None and value >= _HIGH else ""


def _state(row: Row) -> str:
    state = str(row["state"])
    return f"{_DOTS.get(state, '?')} {t(f'node_state.{state}')}"


def _tags(row: Row) -> str:
    return ",".join(f"{key}={value}" for key, value in (row.get("tags") or {}).items())


def _groups(row: Row) -> str:
    return ",".join(row.get("groups") or ())


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


COLUMNS: Final = (
    Column("state", lambda row: row["state"], _state, lambda row: _STYLES.get(row["state"], "")),
    Column("name", lambda row: row["name"], style=lambda row: "bold"),  # noqa: ARG005
    Column(
        "cpu",
        lambda row: _rounded(_cpu(row)),
        lambda row: _percent(_cpu(row)),
        lambda row: _warn(_cpu(row)),
        right=True,
        rank=1,
    ),
    Column(
        "memory",
        lambda row: _rounded(_memory(row)),
        lambda row: _percent(_memory(row)),
        lambda row: _warn(_memory(row)),
        right=True,
        rank=2,
    ),
    Column(
        "disk", lambda row: _rounded(_disk(row)), _disk_shown, lambda row: _warn(_disk(row)), rank=3
    ),
    Column(
        "load",
        lambda row: _rounded(_load(row)),
        lambda row: "-" if _load(row) is None else f"{_load(row):.2f}",
        right=True,
        rank=6,
    ),
    Column("uptime", lambda row: _metrics(row).get("uptime"), _uptime, right=True, rank=7),
    Column("version", lambda row: row.get("version"), rank=8),
    Column("groups", _groups, rank=4),
    Column("tags", _tags, rank=5),
    Column("trouble", lambda row: row.get("trouble") or "", style=lambda row: "red", rank=9),  # noqa: ARG005
)


@node.command("ls", help=t("node.ls.help"))
@click.argument("query", default="", metavar=t("meta.query"))
@click.option(
    "--state",
    type=click.Choice(("online", "offline", "new", "pending", "revoked")),
    help=t("node.ls.state"),
)
@click.option("--select", "-s", default="", metavar=t("meta.selector"), help=t("node.ls.select"))
@form_option
@connected
def ls(session: Session, /, query: str, state: str | None, select: str, form: str) -> None:
    """List nodes."""
    wanted = {"query": query, "state": state, "selector": select}
    rows = _all(session.client, wanted, brief=form not in {"json", "jsonl"})
    if not rows and not any(wanted.values()) and form == "table":
        click.echo(t("node.ls.none"), err=True)
        return
    columns: Sequence[Column] = COLUMNS
    if form == "table" and not any(row.get("trouble") for row in rows):
        columns = COLUMNS[:-1]
    emit(form, rows, columns, name="name")


def _all(client: Client, wanted: dict[str, Any], *, brief: bool) -> list[Row]:
    rows: list[Row] = []
    cursor = ""
    while True:
        page = client.get("/nodes", **wanted, limit=_PAGE, cursor=cursor, brief=brief)
        rows += page["items"]
        cursor = page.get("next") or ""
        if not cursor:
            return rows


@node.command("show", help=t("node.show.help"))
@click.argument("name", shell_complete=complete_nodes, metavar=t("meta.node"))
@one_option
@connected
def show(session: Session, /, name: str, form: str) -> None:
    """Show everything that is known of a node."""
    told = session.client.get(path("nodes", name))
    _answer(told, form)


def _answer(told: Row, form: str) -> None:
    if form == "json":
        click.echo(to_json(told, indent=2))
        return
    facts(_facts(told))


def _facts(told: Row) -> list[tuple[str, Any]]:
    inventory = told.get("inventory") or {}
    metrics = _metrics(told)
    cpu = inventory.get("cpu")
    addresses = [
        f"{one['address']} ({one['interface']})" for one in inventory.get("addresses") or ()
    ]
    memory = f"{_percent(_memory(told))} / {human.size(metrics['memory_total'])}" if metrics else ""
    return [
        ("name", told["name"]),
        ("id", told["id"]),
        ("state", f"{_state(told)} ({human.ago(told['state_since'])})"),
        ("reason", told.get("reason")),
        ("trouble", told.get("trouble")),
        ("groups", _groups(told)),
        ("tags", _tags(told)),
        ("joined", human.local(told["joined"])),
        ("seen", human.ago(told.get("seen"))),
        ("version", told.get("version")),
        ("hostname", inventory.get("hostname")),
        ("os", inventory.get("os")),
        ("kernel", f"{inventory.get('kernel', '')} {inventory.get('architecture', '')}".strip()),
        ("processor", f"{inventory.get('cores')} x {cpu}" if cpu else ""),
        ("addresses", ", ".join(addresses)),
        ("timezone", inventory.get("timezone")),
        ("user", inventory.get("user")),
        ("capabilities", ", ".join(inventory.get("capabilities") or ())),
        *_allowed(inventory.get("allowed") or {}),
        ("cpu", _percent(_cpu(told)) if metrics else ""),
        ("memory", memory),
        ("load", " ".join(f"{one:.2f}" for one in metrics.get("load") or ())),
        ("uptime", _uptime(told) if metrics else ""),
        *(("disk", _usage(disk)) for disk in metrics.get("disks") or ()),
    ]


def _allowed(policy: Row) -> list[tuple[str, Any]]:
    """Return what the host's local policy says, where it says anything."""
    closed = [key for key in ("terminal", "update") if not policy.get(key, True)]
    by = t("node.by_helper") if policy.get("helper") else t("node.by_agent")
    users = policy.get("users") or ()
    return [
        ("runs_as", f"{', '.join(users)} ({by})" if users else ""),
        ("closed", ", ".join(closed)),
        ("services", ", ".join(policy.get("services") or ())),
        ("forward", ", ".join(policy.get("forward") or ())),
        *(
            ("root", f"{name}: {root['path']} ({root['mode']})")
            for name, root in (policy.get("files") or {}).items()
        ),
    ]


def _usage(disk: Row) -> str:
    share = _percent(_full(disk))
    return f"{disk['mount']} {share} ({human.size(disk['used'])} / {human.size(disk['total'])})"


@node.command("rename", help=t("node.rename.help"))
@click.argument("name", shell_complete=complete_nodes, metavar=t("meta.node"))
@click.argument("fresh", metavar=t("meta.new_name"))
@connected
def rename(session: Session, /, name: str, fresh: str) -> None:
    """Give a node another name."""
    told = session.client.send("PATCH", path("nodes", name), {"name": fresh})
    click.echo(t("node.renamed", old=human.safe(name), new=human.safe(told["name"])), err=True)


@node.command("tag", help=t("node.tag.help"))
@click.argument("name", shell_complete=complete_nodes, metavar=t("meta.node"))
@click.argument("tags", nargs=-1, metavar=t("meta.tags"))
@click.option("--remove", "-r", multiple=True, metavar=t("meta.key"), help=t("node.tag.remove"))
@connected
def tag(session: Session, /, name: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Set and remove tags."""
    put = pairs(tags)
    if put or remove:
        where = path("nodes", name, "tags")
        told = session.client.send("POST", where, {"put": put, "remove": list(remove)})
    else:
        told = session.client.get(path("nodes", name))
    for key, value in (told.get("tags") or {}).items():
        click.echo(f"{key}={value}")


def pairs(texts: tuple[str, ...]) -> dict[str, str]:
    """Return ``k=v`` words as a dictionary."""
    found = {}
    for text in texts:
        key, given, value = text.partition("=")
        if not (key and given and value):
            raise click.UsageError(t("node.tag.wrong", text=text))
        found[key] = value
    return found


@node.command("group", help=t("node.group.help"))
@click.argument("name", shell_complete=complete_nodes, metavar=t("meta.node"))
@click.argument("groups", nargs=-1, metavar=t("meta.groups"))
@click.option("--remove", "-r", multiple=True, metavar=t("meta.group"), help=t("node.group.remove"))
@connected
def group(session: Session, /, name: str, groups: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Add a node to groups and take it out of others."""
    if groups or remove:
        where = path("nodes", name, "groups")
        told = session.client.send("POST", where, {"add": list(groups), "remove": list(remove)})
    else:
        told = session.client.get(path("nodes", name))
    for one in told.get("groups") or ():
        click.echo(one)


@node.command("approve", help=t("node.approve.help"))
@click.argument("names", nargs=-1, required=True, metavar=t("meta.nodes"))
@connected
def approve(session: Session, /, names: tuple[str, ...]) -> None:
    """Let pending nodes in."""
    for name in names:
        told = session.client.get(path("nodes", name))
        session.client.send("POST", path("nodes", told["id"], "approve"))
        click.echo(t("node.approved", name=human.safe(told["name"])), err=True)


@node.command("revoke", help=t("node.revoke.help"))
@click.argument("name", shell_complete=complete_nodes, metavar=t("meta.node"))
@click.option("--reason", default="", metavar=t("meta.text"), help=t("node.revoke.reason"))
@click.option("--yes", "-y", is_flag=True, help=t("opt.yes"))
@connected
def revoke(session: Session, /, name: str, reason: str, *, yes: bool) -> None:
    """Shut a node out for good."""
    told = session.client.get(path("nodes", name))
    confirm(t("node.revoke.confirm", name=human.safe(told["name"]), id=told["id"]), yes=yes)
    session.client.send("POST", path("nodes", told["id"], "revoke"), {"reason": reason})
    click.echo(t("node.revoked", name=human.safe(told["name"])), err=True)
