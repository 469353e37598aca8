"""The shapes a contract is made of: a message, a call, an event.

A `Call` is a question that one service answers on ``muster.svc.<service>.<endpoint>``.
Who may ask is part of the contract (`needs`), so a handler without a policy cannot exist.
"""

from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """A fact on the wire; readers ignore fields that they do not know.

    Numbers are finite: JSON has no infinity, so what let one in could not be read again.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        ser_json_bytes="base64",
        val_json_bytes="base64",
    )


Ask = TypeVar("Ask", bound=Message)
Answer = TypeVar("Answer", bound=Message)
Fact = TypeVar("Fact", bound=Message)

SERVICE: Final = "@service"
"""`Call.needs`: the broker admits services alone to the subject; no person is involved."""

NODE: Final = "@node"
"""`Call.needs`: asked by a node on ``<subject>.<node>``; the broker holds it to its own token."""


ACCOUNT: Final = "@account"
"""`Call.needs`: asked by a service account on ``<subject>.<account>``, in the same way."""


@dataclass(frozen=True, slots=True)
class Call(Generic[Ask, Answer]):
    """A question on a subject that exactly one service answers.

    `needs` is a permission (``node.read``) that the caller's ticket must carry, or
    `SERVICE`, `NODE` or `ACCOUNT`. A `safe` call changes nothing, so it may be asked again when
    its answer was lost on the way (RFC 9110, 9.2.1).
    """

    subject: str
    ask: type[Ask]
    answer: type[Answer]
    needs: str
    safe: bool = False

    @property
    def service(self) -> str:
        """The service that answers, the third token of the subject."""
        return self.subject.split(".")[2]


@dataclass(frozen=True, slots=True)
class Event(Generic[Fact]):
    """Something that has happened.

    `subject` holds ``{0}``, ``{1}``… for the tokens that name the thing (``muster.hb.{0}``).
    A durable event is kept by a stream until every consumer has it; the others are lossy.
    """

    subject: str
    fact: type[Fact]
    durable: bool = False

    def at(self, *tokens: str) -> str:
        """Return the subject for the thing that *tokens* name."""
        return self.subject.format(*tokens)

    @property
    def everything(self) -> str:
        """The subject filter that matches every thing."""
        return self.subject.format(*["*"] * self.subject.count("{"))


class Nothing(Message):
    """An answer without content: it was done. A question without parameters."""


NOTHING: Final = Nothing()
