"""Making two parts of an agent: what becomes the helper's, and what is given away.

What was given away is never believed again: whoever has taken over the part on the network may
have written it, and may be changing it while we look.
"""

import contextlib
import os
import pwd
import shutil
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.policy import OURS
from muster.agent.privileged.trust import Trust, pin
from muster.contracts.errors import Conflict, Denied, Unavailable
from muster.kit.files import locked, touch_private

_OF_PEOPLE: Final = 100
"""Groups below are the system's own: Debian lets `staff` (50) write /usr/local."""


def split(home: Home, user: pwd.struct_passwd, policy: str = "") -> list[str]:
    """Give the agent's directory to *user*, and to the helper what it alone may write.

    *policy* replaces the one that is there. The second time only the policy may change.
    """
    helper = home.helper
    _check_place(helper.root)
    if helper.trust.exists():
        if Trust.load(helper).pinned.node != Identity.load(home).node:
            raise Conflict(f"{helper.root} belongs to another node: leave, and join again")
        return _write_policy(helper, policy)
    if home.root.stat().st_uid != os.geteuid():
        raise Conflict(f"{home.root} is somebody else's: leave, and join again")
    done = _hand_over(home, helper, user)
    done += _write_policy(helper, policy)
    give(home.root, user)
    return [*done, f"gave {home.root} to {user.pw_name}"]


def _hand_over(home: Home, helper: Home, user: pwd.struct_passwd) -> list[str]:
    """Move to the helper what it goes on with: what was executed, and what is going on."""
    try:
        with locked(home.lock):
            helper.make()
            if home.journal.exists():
                _copy_journal(home.journal, helper.journal)
            if home.jobs.is_dir():
                helper.jobs.rmdir()
                home.jobs.rename(helper.jobs)
            home.make()
            for old, new in ((home.policy, helper.policy), (home.settings, helper.settings)):
                if old.exists():
                    helper.write(new, old.read_text())
            home.policy.unlink(missing_ok=True)
            pin(helper, Identity.load(home), user.pw_uid, user.pw_gid)  # last: it says "complete"
    except Unavailable as error:
        raise Conflict(f"an agent is running in {home.root}: stop it first") from error
    return [f"made {helper.root}, for root alone, and moved policy and jobs there"]


def _copy_journal(old: Path, new: Path) -> None:
    touch_private(new)
    with (
        contextlib.closing(sqlite3.connect(old)) as source,
        contextlib.closing(sqlite3.connect(new)) as target,
    ):
        source.backup(target)


def _write_policy(helper: Home, policy: str) -> list[str]:
    if not policy:
        return []
    if helper.policy.exists() and not helper.policy.read_text().startswith(OURS):
        raise Conflict(f"{helper.policy} is there already: change it yourself, or delete it")
    helper.write(helper.policy, policy)
    return [f"wrote {helper.policy}"]


def remove(helper: Home) -> bool:
    """Delete a helper's directory, if it is one; raise `Conflict` if the helper is running."""
    if not helper.trust.exists():
        return False
    try:
        with locked(helper.lock):
            shutil.rmtree(helper.root)
    except Unavailable as error:
        raise Conflict(f"a helper is running in {helper.root}: stop it first") from error
    return True


def give(folder: Path, user: pwd.struct_passwd) -> None:
    """Make *user* the owner of everything in *folder*, without following any link."""
    if folder.stat().st_uid == user.pw_uid:
        return
    try:
        for _, _, names, handle in os.fwalk(folder):
            os.fchown(handle, user.pw_uid, user.pw_gid)
            for name in names:
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if found.st_nlink == 1:  # another name of the same file may be anywhere
                    os.chown(name, user.pw_uid, user.pw_gid, dir_fd=handle, follow_symlinks=False)
    except OSError as error:
        raise Denied(f"{folder} cannot be given to {user.pw_name}: {error}") from error


def _check_place(folder: Path) -> None:
    """Raise `Denied` if somebody else could put another folder in the place of this one."""
    for place in (folder, *folder.parents):
        with contextlib.suppress(FileNotFoundError):
            _check_owner(place, what=f"{folder} would not be safe there")


def check_program(program: Sequence[str]) -> None:
    """Raise `Denied` unless others can start *program*, and only root can change it."""
    started = Path(program[0])
    for part in (started, started.resolve(), Path(os.__file__).resolve(), Path(__file__)):
        for place in (part, *part.parents):
            found = _check_owner(place, what=f"root would run {part}")
            if not found.st_mode & stat.S_IXOTH and stat.S_ISDIR(found.st_mode):
                raise Denied(
                    f"{place} is closed to others, so {part} could not be started without rights: "
                    "install the agent for all, for example in /opt/muster (python3 -m venv)"
                )


def _check_owner(place: Path, what: str) -> os.stat_result:
    found = place.lstat()
    writers = stat.S_IWOTH | (stat.S_IWGRP if found.st_gid >= _OF_PEOPLE else 0)
    loose = found.st_mode & writers and not found.st_mode & stat.S_ISVTX
    if found.st_uid not in {0, os.geteuid()} or (loose and not stat.S_ISLNK(found.st_mode)):
        raise Denied(f"others than root can change {place}: {what}")
    return found
