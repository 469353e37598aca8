"""The way back in for who can write the server's own files: ``muster admin reset``.

It works whether the authority runs or not. A running one learns of it as of any other change of
rights: by the revision.
"""

from datetime import datetime

from sqlalchemy import Connection

from muster.authority import chain, directory, identities, keyring, passwords, store
from muster.authority.part import CONSOLE, utc_now
from muster.authority.settings import Settings
from muster.contracts.errors import NotFound
from muster.kit.sql import open_database


async def reset(settings: Settings, name: str) -> str:
    """Make *name* an administrator again; return a one-time password.

    Sessions and second factors of that person end. Raises `NotFound`.
    """
    password, now = passwords.one_time(), utc_now()
    hashed = await passwords.hashed(password)
    where = settings.database_of("authority")
    async with open_database(where, migrations="muster.authority") as db:
        await db.write(lambda conn: _reset(conn, name, hashed, now))
    return password


def _reset(conn: Connection, name: str, hashed: str, now: datetime) -> None:
    store.begin(conn)
    row = directory.person(conn, name)
    if row is None or row.account:
        raise NotFound(f"there is no user {name}")
    roles = sorted({*row.roles, "admin"})
    values = {"password": hashed, "must_change": True, "disabled": False, "roles": roles}
    directory.change(conn, name, **values, totp="", totp_next="")
    keyring.drop_all(conn, name)
    identities.forget(conn, name)
    store.end_all(conn, name, "session", "app", "invitation", "half", "recovery")
    chain.append(conn, CONSOLE, "admin.reset", now=now, detail=name)
    directory.touched(conn, [name], now)
