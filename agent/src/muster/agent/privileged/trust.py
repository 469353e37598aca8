"""Whom the helper believes: its own copy of what joining has pinned, which only root may write."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pydantic import ValidationError

from muster.agent import orders
from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.orders import Order, open_order
from muster.contracts.authority import KeyNotice
from muster.contracts.base import Message
from muster.contracts.errors import Conflict, NotFound
from muster.contracts.names import Int, NodeId
from muster.kit import wire
from muster.kit.identity import natsjwt
from muster.kit.identity.rotation import follow


class Pinned(Message):
    """The content of ``trust.json``."""

    node: NodeId
    authority_keys: list[str]
    epoch: int
    uid: Int
    """The user that the part on the network is; nobody else but root is listened to."""
    gid: Int
    """Its group, which may read outputs."""


class Trust:
    """What is pinned at the moment; it changes only by what is signed."""

    def __init__(self, home: Home, pinned: Pinned) -> None:
        """Keep *pinned* in *home*."""
        self._home = home
        self.pinned = pinned

    @classmethod
    def load(cls, home: Home) -> "Trust":
        """Read it, or raise `NotFound` or `Conflict`."""
        try:
            return cls(home, Pinned.model_validate_json(home.trust.read_bytes()))
        except FileNotFoundError as error:
            raise NotFound(f"{home.trust} is missing: muster-agent install") from error
        except ValidationError as error:
            text = f"{home.trust} is damaged ({wire.places(error)}): muster-agent install"
            raise Conflict(text) from None

    def order(self, blob: bytes, verb: str) -> Order:
        """Return the order in *blob* if it is a timely one of the authority for this node."""
        keys = [natsjwt.bytes64(text) for text in self.pinned.authority_keys]
        order = open_order(blob, keys, self.pinned.node, verb)
        orders.check(order, self.pinned.epoch, datetime.now(UTC))
        if order.envelope.epoch > self.pinned.epoch:
            self._become(epoch=order.envelope.epoch)
        return order

    def learn(self, notices: Sequence[KeyNotice]) -> None:
        """Pin other keys if those that are pinned vouch for them."""
        keys = follow(self.pinned.authority_keys, notices)
        if keys != self.pinned.authority_keys:
            self._become(authority_keys=keys)

    def _become(self, **values: object) -> None:
        pinned = self.pinned.model_copy(update=values)
        write(self._home, pinned)
        self.pinned = pinned


def write(home: Home, pinned: Pinned) -> None:
    """Keep *pinned* in *home*, whole or not at all."""
    home.write(home.trust, pinned.model_dump_json(indent=1))


def pin(home: Home, identity: Identity, uid: int, gid: int) -> None:
    """Let the helper in *home* believe whom *identity* believes, and listen to *uid*."""
    pinned = Pinned(
        node=identity.node,
        authority_keys=identity.authority_keys,
        epoch=identity.epoch,
        uid=uid,
        gid=gid,
    )
    write(home, pinned)
