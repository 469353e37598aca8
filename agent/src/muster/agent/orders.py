"""Orders: signed commands that came over the bus, and why one is not obeyed.

In this order: the signature, the node, the verb; then time and epoch; then the arguments. Before
the signature is known to be good nothing is parsed and nobody is answered, and what was meant
for another node or verb is none of our business: it is dropped. What comes after is a refusal
that the scheduler is told of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from muster.contracts.errors import Denied, Expired, Malformed
from muster.contracts.runs import Command, Envelope
from muster.kit import wire
from muster.kit.identity import envelope as signed

VERBS = frozenset({"run", "cancel", "read", "records"})


@dataclass(frozen=True, slots=True)
class Order:
    """A command that the authority has signed for this node."""

    envelope: Envelope
    args: bytes
    blob: bytes
    """As it came, for whoever verifies it again."""

    @property
    def run(self) -> str:
        """The run that it is about."""
        return self.envelope.run

    def command(self) -> Command:
        """Return what is to be run, or raise `Malformed`."""
        return wire.unpack(Command, self.args)


def open_order(blob: bytes, keys: Sequence[bytes], node: str, verb: str | None) -> Order:
    """Return the order in *blob*; raise `Denied` if it is not one for this node.

    *verb* is the last token of the subject that it came on; None if it came as an answer.
    """
    try:
        envelope, args = signed.open_command(blob, keys)
    except Malformed as error:
        raise Denied(str(error)) from error
    if envelope.node != node:
        raise Denied("the command is for another node")
    if envelope.verb not in VERBS or verb not in {None, envelope.verb}:
        raise Denied(f"a command to {envelope.verb} came as {verb}")
    return Order(envelope, args, blob)


def check(order: Order, epoch: int, now: datetime) -> None:
    """Raise `Expired` or `Denied` if the order is of another time."""
    if signed.expired(order.envelope, now):
        raise Expired("the command expired before it reached the node")
    if order.envelope.epoch < epoch:
        raise Denied("the command is from before the server was restored (old epoch)")
