"""Keeping an agent running by systemd: its user, its directories, its units."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.policy import MONITOR_ONLY
from muster.agent.privileged.trust import Trust, pin
from muster.agent.units import AGENT, HELPER, USER, Shape, Units
from muster.contracts.errors import Conflict, Denied, Unavailable


def install(units: Units, policy: str = "") -> list[str]:
    """Write the units, enable and start them; return what was done, for people.

    *policy* replaces what the local policy of this agent says.
    """
    units.home.check()
    done = []
    if units.shape is Shape.WATCHING:
        done += _only_watch(units.home)
    elif policy and units.shape is not Shape.SPLIT:
        units.home.write(units.home.policy, policy)
    if units.shape is Shape.SPLIT:
        done += split(units.home, _system_user(units.user), policy)
    elif units.shape is not Shape.OWN:
        who = _system_user(units.user) if units.user == USER else _user(units.user)
        give(units.home.root, who)
        done.append(f"gave {units.home.root} to {units.user}")
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
        _systemctl([*(["--user"] if units.shape is Shape.OWN else []), *words])
    done.append(f"enabled and started {' and '.join(names)}")
    return done


def split(home: Home, user: pwd.struct_passwd, policy: str = "") -> list[str]:
    """Give the agent's directory to *user*, and to the helper what it alone may write.

    The second time nothing that lies in the directory is believed: *user* may have written it.
    """
    helper = home.helper
    helper.make()
    done = [f"made {helper.root}, for root alone"]
    if home.root.stat().st_uid == os.geteuid():
        pin(helper, Identity.load(home), user.pw_uid, user.pw_gid)
        if home.policy.exists():
            policy = policy or home.policy.read_text()
            home.policy.unlink()
    elif Trust.load(helper).pinned.node != Identity.load(home).node:
        raise Conflict(f"{helper.root} belongs to another node: join again, --force")
    if policy:
        helper.write(helper.policy, policy)
        done.append(f"wrote {helper.policy}")
    give(home.root, user)
    return [*done, f"gave {home.root} to {user.pw_name}"]


def _only_watch(home: Home) -> list[str]:
    if home.policy.exists() and home.policy.read_text() != MONITOR_ONLY:
        raise Conflict(f"{home.policy} is there already: write run = false into it yourself")
    home.write(home.policy, MONITOR_ONLY)
    return [f"wrote {home.policy}: this agent runs no commands"]


def give(folder: Path, user: pwd.struct_passwd) -> None:
    """Make *user* the owner of everything in *folder*; links are not followed."""
    try:
        for _, _, names, handle in os.fwalk(folder):
            os.fchown(handle, user.pw_uid, user.pw_gid)
            for name in names:
                os.chown(name, user.pw_uid, user.pw_gid, dir_fd=handle, follow_symlinks=False)
    except OSError as error:
        raise Denied(f"{folder} cannot be given to {user.pw_name}: {error}") from error


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


def _systemctl(words: list[str]) -> None:
    _called(["systemctl", *words])


def _called(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{' '.join(command)}: {error}") from error
    if done.returncode:
        raise Unavailable(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
