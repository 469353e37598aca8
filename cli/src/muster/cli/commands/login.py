"""``muster login`` and ``muster logout``: begin and end a session at a server."""

import re
import sys
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import click

from muster.cli import contexts, human, terminals
from muster.cli.asking import ask, hidden
from muster.cli.client import Client, failure_of
from muster.cli.context import Context
from muster.cli.failures import Failure
from muster.cli.i18n import t
from muster.cli.session import Session, connected
from muster.cli.trust import authority_of
from muster.cli.web_login import by_browser

_SECRETS: Final = ("__Host-muster", "muster")
_REFUSED: Final = 400


@click.command(help=t("login.help"))
@click.argument("url", metavar=t("meta.url"))
@click.option("--user", "-u", default="", metavar=t("meta.user"), help=t("login.user"))
@click.option("--name", default="", metavar=t("meta.name"), help=t("login.name"))
@click.option("--web", is_flag=True, help=t("login.web.help"))
@click.option("--password-stdin", is_flag=True, help=t("login.stdin"))
@click.option("--token-stdin", is_flag=True, help=t("login.token"))
@click.option("--ca", type=click.Path(path_type=Path, exists=True), help=t("login.ca"))
@click.option("--fingerprint", default="", metavar="SHA256", help=t("login.fingerprint"))
def login(  # noqa: PLR0913, PLR0917  # one argument per option
    url: str,
    user: str,
    name: str,
    ca: Path | None,
    fingerprint: str,
    web: bool,  # noqa: FBT001
    password_stdin: bool,  # noqa: FBT001
    token_stdin: bool,  # noqa: FBT001
) -> None:
    """Begin a session, and use that server from now on."""
    url = _checked(url)
    trusted = ca.read_text() if ca else authority_of(url, fingerprint)
    password = ""
    if token_stdin:
        found = Context(url, sys.stdin.readline().strip(), trusted)
    elif web:
        found = Context(url, by_browser(Context(url, "", trusted)), trusted)
    else:
        user = user or ask(t("login.ask.user"))
        password = _password(from_stdin=password_stdin)
        found = _begin(Context(url, "", trusted, user), password)
    person = Client(found).get("/me")
    if person.get("must_change_password"):
        _choose_password(found, password)
    kept = name or re.sub(r"[^A-Za-z0-9.-]", "-", urlsplit(url).hostname or "server")
    contexts.keep(kept, Context(url, found.token, trusted, str(person["name"])))
    click.echo(
        t("login.done", user=human.safe(person["name"]), url=url, name=human.safe(kept)), err=True
    )


def _checked(url: str) -> str:
    """Return the server's address; one without a scheme is https."""
    url = url if "://" in url else f"https://{url}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.UsageError(t("login.url", url=url))
    if parts.scheme == "http" and parts.hostname not in {"localhost", "127.0.0.1", "::1"}:
        raise click.UsageError(t("context.plain", url=url))
    return f"{parts.scheme}://{parts.netloc}"


def _begin(context: Context, password: str) -> Context:
    """Begin a session; ask for the second factor if there is one."""
    code = ""
    while True:
        body = {"name": context.person, "password": password, "code": code}
        status, headers, told = Client(context).exchange("POST", "/login", body)
        if status < _REFUSED:
            break
        problem = str(told.get("code"))
        if problem == "second_factor" and terminals.can_ask():
            if code:
                click.echo(t("login.code_wrong"), err=True)
            code = ask(t("login.ask.code"))
            continue
        raise failure_of(problem, str(told.get("detail", status)))
    for header in headers.get_all("Set-Cookie") or ():
        cookie = SimpleCookie(header)
        for wanted in _SECRETS:
            if wanted in cookie and cookie[wanted].value:
                return Context(context.url, cookie[wanted].value, context.ca, context.person)
    raise Failure(t("client.not_json", url=context.url))


def _choose_password(context: Context, old: str) -> None:
    """Let a person replace a one-time password."""
    click.echo(t("login.must_change"), err=True)
    new = hidden(t("login.ask.new"), again=True)
    Client(context).send("POST", "/me/password", {"old": old, "new": new})


def _password(*, from_stdin: bool) -> str:
    return sys.stdin.readline().rstrip("\n") if from_stdin else hidden(t("login.ask.password"))


@click.command(help=t("logout.help"))
@connected
def logout(session: Session, /) -> None:
    """End the session of this context, and forget it."""
    place = contexts.of(session.place)
    if place is None:
        raise Failure(t("logout.local"))
    session.client.send("POST", "/logout")
    contexts.forget(place)
    click.echo(t("logout.done", name=human.safe(place)), err=True)
