"""Keeping an agent running by systemd: its user, its directories, its units."""

import pwd
import shutil
import subprocess

from muster.agent.policy import MONITOR_ONLY, OURS
from muster.agent.privileged import splitting
from muster.agent.units import AGENT, HELPER, USER, Shape, Units
from muster.contracts.errors import Conflict, Denied, Unavailable


def install(units: Units, policy: str = "") -> list[str]:
    """Write the units, enable and start them; return what was done, for people.

    *policy* replaces what the local policy of this agent says.
    """
    units.home.check()
    if units.shape is not Shape.OWN:
        _stop()
    done = _prepare(units, policy)
    for name, text in units.texts().items():
        path = units.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise Denied(f"{path} cannot be written: {error.strerror}") from error
        done.append(f"wrote {path}")
    names = [name for name in (HELPER, AGENT) if name in units.texts()]
    for words in (["daemon-reload"], ["enable", *names], ["restart", *names]):
        _called(["systemctl", *(["--user"] if units.shape is Shape.OWN else []), *words])
    done.append(f"enabled and started {' and '.join(names)}")
    return done


def _prepare(units: Units, policy: str) -> list[str]:
    """Give the directories, and the policy, to whom they belong."""
    home = units.home
    if units.shape is Shape.SPLIT:
        splitting.check_program(units.program)
        return splitting.split(home, _system_user(units.user), policy)
    done = [] if units.shape is Shape.OWN else _without_helper(units)
    if units.shape is Shape.WATCHING:
        policy = MONITOR_ONLY
    if policy:
        if home.policy.exists() and not home.policy.read_text().startswith(OURS):
            raise Conflict(f"{home.policy} is there already: change it yourself, or delete it")
        home.write(home.policy, policy)
        done.append(f"wrote {home.policy}")
    if units.shape is not Shape.OWN:
        user = _system_user(units.user) if units.user == USER else _user(units.user)
        splitting.give(home.root, user)
        done.append(f"gave {home.root} to {units.user}")
    return done


def _without_helper(units: Units) -> list[str]:
    """Let no helper of an earlier time go on as root."""
    helper, unit = units.home.helper, units.folder / HELPER
    if unit.exists():
        _called(["systemctl", "disable", "--now", HELPER])
        unit.unlink()
    if splitting.remove(helper):
        return [f"removed {HELPER} and {helper.root}"]
    return []


def _stop() -> None:
    """Stop what may run: nothing may change while directories change hands."""
    words = ["systemctl", "stop", AGENT, HELPER]
    try:
        subprocess.run(words, capture_output=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(words)}: {error}") from error


def _user(name: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError as error:
        raise Denied(f"there is no user {name} on this host") from error


def _system_user(name: str) -> pwd.struct_passwd:
    """Return the user without rights that the part on the network is; made if it is missing."""
    try:
        return pwd.getpwnam(name)
    except KeyError:
        shell = shutil.which("nologin") or "/bin/false"
        _called(["useradd", "--system", "--user-group", "--no-create-home", "--shell", shell, name])
        return _user(name)


def _called(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
