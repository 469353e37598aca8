"""What the shelf tells."""

from muster.contracts.base import Event, Message


class Bought(Message):
    """There is a new book."""

    title: str


BOUGHT = Event("muster.fact.shelf.book.{0}.bought", Bought, durable=True)
RUMOUR = Event("muster.live.shelf", Bought)
