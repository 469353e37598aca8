"""What each command of the command line does.

Each imports what it alone needs: an agent that runs for months does not carry what joining took.
"""

import argparse
import asyncio
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from muster.agent.home import Home, absolute, default_dir
from muster.agent.identity import Identity
from muster.agent.policy import MONITOR_ONLY, allowing
from muster.agent.program import program
from muster.agent.settings import Settings
from muster.contracts.errors import Conflict, Malformed, MusterError, Unavailable
from muster.kit.files import locked
from muster.kit.settings import BadSettingsError, load
from muster.kit.text import clean

if TYPE_CHECKING:
    from muster.contracts.authority import Joined
    from muster.kit.identity.nkeys import Key

OK: Final = 0
FAILED: Final = 1
WRONG: Final = 2


def execute(given: argparse.Namespace) -> int:
    """Run the command and return the exit code."""
    table: dict[str, Callable[[argparse.Namespace, Home, Settings], int]] = {
        "join": _join,
        "run": _run,
        "helper": _helper,
        "status": _status,
        "leave": _leave,
        "install": _install,
        "doctor": _doctor,
    }
    try:
        home, settings = _where(given.data_dir)
        return table[given.command](given, home, settings)
    except Malformed as error:
        _complain(error)
        return WRONG
    except (MusterError, BadSettingsError) as error:
        _complain(error)
    except OSError as error:
        _complain(f"{error.filename or 'the system'}: {error.strerror or error}")
    return FAILED


def _say(text: str) -> None:
    sys.stdout.write(f"{clean(text)}\n")


def _complain(what: object) -> None:
    sys.stderr.write(f"muster-agent: {clean(str(what))}\n")


def _where(named: Path | None) -> tuple[Home, Settings]:
    root = absolute(named or default_dir(os.environ, root=os.geteuid() == 0))
    home = Home(root)
    return home, load(Settings, "agent", toml=home.settings, given={"data_dir": root}).settings


def _join(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    del settings
    ask, server = _entry(given)
    users = "" if given.monitor_only else _asked_for_users(given.users, home)
    _check_owner(home)
    home.make()
    with _alone(home):
        if home.identity.exists() and not given.force:
            raise Conflict(
                f"an agent has joined in {home.root} already: `{program()} leave` gives its "
                "identity up, `join --force` replaces it"
            )
        joined, key = ask()
        if home.identity.exists():
            _forget(home)
        if given.monitor_only:
            home.write(home.policy, MONITOR_ONLY)
        elif users:
            home.write(home.policy, allowing(users))
        Identity.of(joined, key, server).save(home)
    _say(f"joined as node {joined.node}")
    if joined.pending:
        _say(f"an administrator has to approve it first: muster node approve {joined.node}")
    if os.geteuid() == 0 and not (users or home.policy.exists()):
        _say("no commands can run yet, because nobody is named for them: install --users root,…")
    place = f" --data-dir {shlex.quote(str(given.data_dir))}" if given.data_dir else ""
    _say(f"now run it: {program()} run{place}; or for good, by systemd: {program()} install{place}")
    return OK


def _entry(given: argparse.Namespace) -> tuple[Callable[[], tuple["Joined", "Key"]], str]:
    """Return what asks the server to let us in, by a token or a certificate, and the server."""
    from muster.agent import certifying, joining  # noqa: PLC0415

    if bool(given.token) == bool(given.cert):
        raise Malformed("give either the line of a join token, or --server, --cert and --key")
    if not given.cert:
        line = sys.stdin.readline() if given.token == "-" else given.token  # noqa: S105
        token = joining.Token.parse(line, given.server)
        return lambda: joining.join(token, given.name), token.url
    if not given.server or not given.key:
        raise Malformed("a certificate needs --server https://… and --key as well")
    papers = certifying.Papers(given.server, given.cert, given.key, given.ca, given.fingerprint)
    return lambda: certifying.join(papers, given.name, force=given.force), papers.server


def _asked_for_users(named: str, home: Home) -> str:
    """Return as whom commands may run; root is asked, if nobody has said so."""
    if not named and os.geteuid() == 0 and not home.policy.exists() and sys.stdin.isatty():
        question = (
            "As whom may commands run on this host? (root, or names between commas) [nobody] "
        )
        named = _answer(question)
    allowing(named)  # a user who is not there is told before the token is used up
    return named


def _alone(home: Home) -> ExitStack:
    stack = ExitStack()
    try:
        stack.enter_context(locked(home.lock))
    except Unavailable as error:
        raise Conflict(f"an agent is running in {home.root}: stop it first") from error
    return stack


def _only_watches(home: Home) -> bool:
    return not home.helper.trust.exists() and (
        home.policy.is_file() and home.policy.read_text() == MONITOR_ONLY
    )


def _check_owner(home: Home) -> None:
    """Raise `Conflict` if the directory is somebody else's, who could lay traps in it."""
    if home.root.exists() and home.root.stat().st_uid != os.geteuid():
        raise Conflict(f"{home.root} is another user's: `{program()} leave` as root deletes it")


def _forget(home: Home) -> None:
    """Delete everything that belongs to the identity, but for itself: it is replaced at once."""
    for path in (home.journal, home.status):
        path.unlink(missing_ok=True)
    for suffix in ("-wal", "-shm"):
        home.journal.with_name(home.journal.name + suffix).unlink(missing_ok=True)
    shutil.rmtree(home.jobs, ignore_errors=True)


def _run(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    from muster.agent.living import live  # noqa: PLC0415
    from muster.kit import logs, run  # noqa: PLC0415

    logs.setup(settings.log_level, settings.log_format)
    helper = Home(absolute(given.helper)) if given.helper else None

    async def main(stop: asyncio.Event) -> None:
        await live(home, settings, stop, helper)

    return run.run(main)


def _helper(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    from muster.agent.privileged.serving import serve  # noqa: PLC0415
    from muster.kit import logs, run  # noqa: PLC0415

    del given
    logs.setup(settings.log_level, settings.log_format)

    async def main(stop: asyncio.Event) -> None:
        await serve(home, settings, stop)

    return run.run(main)


def _status(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    del given, settings
    identity = Identity.load(home)
    _say(f"node       {identity.node}")
    _say(f"server     {', '.join(identity.urls)}")
    _say(f"directory  {home.root}")
    try:
        with locked(home.lock):
            _say("agent      is not running")
            return FAILED
    except Unavailable:
        status = _last_status(home)
    _say(f"agent      runs with pid {status.get('pid', '?')}")
    _say(f"connected  {'yes' if status.get('connected') else 'no'}")
    if trouble := status.get("trouble"):
        _say(f"trouble    {trouble}")
    return OK if status.get("connected") else FAILED


def _last_status(home: Home) -> dict[str, object]:
    try:
        found = json.loads(home.status.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _leave(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    from muster.agent.privileged import splitting  # noqa: PLC0415

    del settings
    identity = Identity.load(home)
    with _alone(home):
        if not given.yes and not _agreed(f"give up node {identity.node} for good? [y/N] "):
            return FAILED
        _forget(home)
        home.identity.unlink(missing_ok=True)
    if os.geteuid() == 0:
        splitting.remove(home.helper)  # it believes in the old identity
        if home.root.stat().st_uid != 0:
            shutil.rmtree(home.root)
    _say(f"this host is no longer {identity.node}")
    _say(f"on the server: muster node revoke {identity.node}")
    return OK


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Conflict("nobody is there to be asked: --yes")
    return _answer(question).lower() in {"y", "yes"}


def _answer(question: str) -> str:
    sys.stdout.write(question)
    sys.stdout.flush()
    return sys.stdin.readline().strip()


def _install(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    from muster.agent import installing, units  # noqa: PLC0415

    del settings
    if os.geteuid() != 0:
        shape = units.Shape.OWN
    elif given.monitor_only or _only_watches(home):
        shape = units.Shape.WATCHING
    else:
        shape = units.Shape.ONE if given.user else units.Shape.SPLIT
    wanted = units.Units(home, units.program(), shape, given.user or units.USER)
    if given.print:
        for name, text in wanted.texts().items():
            sys.stdout.write(f"# {wanted.folder / name}\n{text}\n")
        return OK
    for line in installing.install(wanted, allowing(given.users) if given.users else ""):
        _say(line)
    return OK


def _doctor(given: argparse.Namespace, home: Home, settings: Settings) -> int:
    from muster.agent.checking import examine  # noqa: PLC0415

    del given
    findings = examine(home, settings)
    for one in findings:
        _say(f"{'ok  ' if one.ok else 'BAD '} {one.what:<12} {one.text}")
    return OK if all(one.ok for one in findings) else FAILED
