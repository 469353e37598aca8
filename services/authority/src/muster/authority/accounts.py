"""Service accounts: credentials at the broker for the programs of others."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from muster.authority import account_keys, chain, directory, store
from muster.authority.deciding import Deciding
from muster.authority.part import address_of, new_secret
from muster.authority.pushing import Pushing
from muster.authority.sessions import kept
from muster.contracts.accounts import (
    CREATE_ACCOUNT,
    FIND_ACCOUNT,
    GET_TICKET,
    INGRESS,
    LIST_ACCOUNTS,
    RENEW_ACCOUNT,
    REVOKE_ACCOUNT,
    Account,
    AccountCredentials,
    AccountName,
    Accounts,
    CreateAccount,
    RenewAccount,
)
from muster.contracts.authority import Granted, Origin
from muster.contracts.base import NOTHING, Nothing
from muster.contracts.errors import Conflict, Malformed, NotFound
from muster.contracts.people import RightsChanged
from muster.kit import durable
from muster.kit.bus import Caller, answers
from muster.kit.identity import nkeys, outside

_ON_THE_BUS = Origin(agent="the bus")


class AccountCalls(Deciding, Pushing):
    """External systems, and what they may do."""

    @answers(LIST_ACCOUNTS)
    async def accounts(self, ask: Nothing, caller: Caller) -> Accounts:  # noqa: ARG002
        """Return all service accounts, by name."""
        now = self.tools.now()
        return Accounts(
            items=await self.tools.db.read(lambda conn: account_keys.accounts(conn, now))
        )

    @answers(FIND_ACCOUNT)
    async def account(self, ask: AccountName, caller: Caller) -> Account:  # noqa: ARG002
        """Return one service account."""
        now = self.tools.now()
        found = await self.tools.db.read(lambda conn: account_keys.accounts(conn, now, ask.name))
        if not found:
            raise NotFound(f"there is no service account {ask.name}")
        return found[0]

    @answers(CREATE_ACCOUNT)
    async def create_account(self, ask: CreateAccount, caller: Caller) -> AccountCredentials:
        """Let an external system in; what another one of that name has told is forgotten."""
        now = self.tools.now()
        answer, signer = self._issue(ask.name, ask.key, now, ask.ttl)

        def add(conn: Connection) -> RightsChanged:
            if directory.person(conn, ask.name):
                raise Conflict(f"there is a user or a service account {ask.name} already")
            if account_keys.number(conn) >= account_keys.MOST:
                raise Conflict(f"there are {account_keys.MOST} service accounts: revoke one first")
            self.may_give(conn, caller, ask.roles, ask.groups)
            row = {
                "name": ask.name,
                "full_name": ask.note,
                "password": "",
                "roles": sorted(set(ask.roles)),
                "groups": sorted(set(ask.groups)),
                "must_change": False,
                "created": now,
                "account": True,
            }
            directory.add(conn, row)
            self._keep(conn, caller, ask.key, signer, answer, now)
            detail = f"{ask.name}, roles {ask.roles}, groups {ask.groups}, {_until(answer)}"
            self._write_down(conn, caller, "account.create", detail, now)
            return directory.touched(conn, [ask.name], now)

        if await self.tools.db.read(lambda conn: directory.person(conn, ask.name)) is None:
            await self._forget(ask.name)  # before it is there: nothing can fail afterwards
        await self.tell(await self.tools.db.write(add))
        return answer

    @answers(RENEW_ACCOUNT)
    async def renew_account(self, ask: RenewAccount, caller: Caller) -> AccountCredentials:
        """Give fresh credentials; those of another key end at once."""
        now = self.tools.now()

        def renew(conn: Connection) -> tuple[AccountCredentials, RightsChanged]:
            self._touchable(conn, caller, ask.name)
            key = ask.key or account_keys.last_key(conn, ask.name, now)
            if not key:
                raise Conflict("its credentials have ended: send a public key")
            answer, signer = self._issue(ask.name, key, now, ask.ttl)
            account_keys.make_room(conn, ask.name, key, now)
            self._keep(conn, caller, key, signer, answer, now)
            self._write_down(conn, caller, "account.renew", f"{ask.name}, {_until(answer)}", now)
            return answer, directory.touched(conn, [ask.name], now)

        answer, change = await self.tools.db.write(renew)
        await self.tell(change)
        return answer

    @answers(REVOKE_ACCOUNT)
    async def revoke_account(self, ask: AccountName, caller: Caller) -> Nothing:
        """Shut an external system out for good: its connections are cut before this answers."""
        now = self.tools.now()

        def shut_out(conn: Connection) -> RightsChanged:
            self._touchable(conn, caller, ask.name)
            directory.remove(conn, ask.name)
            self._write_down(conn, caller, "account.revoke", ask.name, now)
            return directory.touched(conn, [ask.name], now)

        await self.tell(await self.tools.db.write(shut_out))
        await self.push()
        await self._forget(ask.name)
        return NOTHING

    @answers(GET_TICKET)
    async def ticket_of_account(self, ask: Nothing, caller: Caller) -> Granted:  # noqa: ARG002
        """Give a service account a ticket; the broker holds it to its own name."""
        name, now = str(caller.account), self.tools.now()
        return await self.ticket(lambda conn: account_keys.newest(conn, name, now), _ON_THE_BUS)

    def _issue(
        self, name: str, key: str, now: datetime, ttl: float
    ) -> tuple[AccountCredentials, str]:
        """Return fresh credentials, and who has signed them."""
        try:
            nkeys.public_raw(key)
        except ValueError as error:
            raise Malformed(f"this is no public key of a NATS user: {error}") from error
        expires, settings = now + timedelta(seconds=ttl), self.tools.settings
        jwt, signer = self.tools.world.mint_external(name, key, expires)
        answer = AccountCredentials(
            name=name,
            jwt=jwt,
            expires=expires,
            urls=settings.node_urls or settings.nats,
            ca=settings.ca.read_text() if settings.ca else "",
            inbox=outside.inbox(name),
            publish=f"{INGRESS}.{name}",
            ticket=f"{GET_TICKET.subject}.{name}",
        )
        return answer, signer

    @staticmethod
    def _keep(
        conn: Connection,
        caller: Caller,
        key: str,
        signer: str,
        made: AccountCredentials,
        now: datetime,
    ) -> None:
        """Keep credentials among the secrets; what they are found by there, nobody knows."""
        other = account_keys.holder(conn, key, now)
        if other not in {"", made.name}:
            raise Conflict(f"{other} has this key: make another one")
        origin = Origin(address=address_of(caller))
        row = kept(new_secret("mkey"), store.KEY, made.name, now, made.expires, origin)
        store.add_secret(conn, row | {"key": key, "signer": signer})

    def _touchable(self, conn: Connection, caller: Caller, name: str) -> Any:
        """Return a service account that may do no more than the caller."""
        row = directory.person(conn, name)
        if row is None or not row.account:
            raise NotFound(f"there is no service account {name}")
        return self.may_touch(conn, caller, name)

    @staticmethod
    def _write_down(
        conn: Connection, caller: Caller, action: str, detail: str, now: datetime
    ) -> None:
        chain.append(conn, caller.name, action, now=now, detail=detail, address=address_of(caller))

    async def _forget(self, name: str) -> None:
        """Drop what a source has told: another one of its name would be taken for it."""
        await durable.purge(self.tools.bus.client, durable.IN.name or "", f"{INGRESS}.{name}.>")


def _until(made: AccountCredentials) -> str:
    return f"until {made.expires.isoformat(timespec='seconds')}"
