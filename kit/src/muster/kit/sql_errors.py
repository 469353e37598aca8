"""What a database error means to the person who asked: mostly "not now", and why.

A broken constraint is none of these: the store that caused it knows what it means.
"""

import sqlite3
from typing import Final

from sqlalchemy.exc import DBAPIError, IntegrityError

from muster.contracts.errors import Unavailable

_SQLITE: Final = {
    sqlite3.SQLITE_FULL: "is full: make room on its disk",
    sqlite3.SQLITE_READONLY: "is read-only: check the file's permissions and its disk",
    sqlite3.SQLITE_PERM: "may not be opened: check the file's permissions",
    sqlite3.SQLITE_BUSY: "is locked by another process: try again",
    sqlite3.SQLITE_LOCKED: "is locked: try again",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check its disk",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check the directory and its permissions",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore a backup",
    sqlite3.SQLITE_NOTADB: "is not a database file: restore a backup",
}
_POSTGRES: Final = {
    "53100": "is full: make room on its disk",
    "25006": "is read-only: a standby, or a disk in trouble",
    "55P03": "is locked by another process: try again",
    "57014": "took too long: try again",
    "28": "refuses the login: check the URL's user and password",
    "3D": "does not exist on that server: create it",
    "08": "does not answer: is the server up?",
    "53": "has no resources left: try again later",
    "57P": "is being shut down: try again later",
    "58": "has trouble with its system: see the server's log",
    "40": "was busy with a conflicting change: try again",
    "42501": "does not permit that to this user: check the user's rights",
}


def explain(error: BaseException, name: str) -> Unavailable | None:
    """Return what to tell the person, if *error* is the database's trouble and not ours."""
    cause: BaseException | None = error
    while cause is not None:
        if reason := _reason(cause):
            return Unavailable(f"the database of {name} {reason}")
        cause = cause.__cause__ or cause.__context__
    return None


def spoils(error: BaseException) -> bool:
    """Whether the connection on which *error* happened should not be trusted any more."""
    return isinstance(error, (DBAPIError, sqlite3.Error)) and not _is_constraint(error)


def _is_constraint(error: BaseException) -> bool:
    return isinstance(error, (IntegrityError, sqlite3.IntegrityError))


def _reason(error: BaseException) -> str | None:
    if _is_constraint(error):
        return None
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    driver = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(driver, sqlite3.Error):
        return _SQLITE.get(getattr(driver, "sqlite_errorcode", 0) & 0xFF)
    if type(driver).__module__.startswith("psycopg"):
        return _postgres_reason(driver, lost=lost)
    return _POSTGRES["08"] if lost else None


def _postgres_reason(driver: BaseException | None, *, lost: bool) -> str | None:
    state: str | None = getattr(driver, "sqlstate", None)
    if state is not None:
        return next((_POSTGRES[state[:n]] for n in (5, 3, 2) if state[:n] in _POSTGRES), None)
    # libpq speaks without a code when it could not log in, or when the connection is lost
    text = str(driver)
    if "password" in text or "does not exist" in text:
        return "refuses the login: check the URL's user, password and database"
    return _POSTGRES["08"] if lost or type(driver).__name__ == "OperationalError" else None
