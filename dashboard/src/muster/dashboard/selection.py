"""Which rows are ticked: never another thing than the person saw.

Streamlit tells the *positions* of ticked rows. When a refreshed table has another order, the
same positions are other nodes. So:

* a frame (a list of ids in an order) belongs to a generation, and the generation is part of the
  widget's key: when ids or order change, the ticks are dropped, never shifted;
* while something is ticked, the frame stays as it is: values change, rows do not;
* ticks are read against the frame that was shown, and only ids leave this module;
* a series (random, one for each session) is part of the key too: a browser that comes back to a
  restarted server tells the ticks of its old frames, and these must fit no new one.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace


def new_series() -> str:
    """Return a series that no other session has."""
    return secrets.token_hex(6)


@dataclass(frozen=True, slots=True)
class Frame:
    """What is on the screen: ids in an order, under a generation of a series."""

    ids: tuple[str, ...] = ()
    generation: int = 0
    series: str = field(default_factory=new_series)

    def key(self, name: str) -> str:
        """Return the key of the widget that shows this frame."""
        return f"{name}-{self.series}-{self.generation}"

    def ticked(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return the ids behind ticked positions; positions that do not exist are nobody."""
        return tuple(self.ids[row] for row in rows if 0 <= row < len(self.ids))

    def next(self, fresh: Sequence[str], rows: Sequence[int], *, anew: bool = False) -> "Frame":
        """Return the frame to show now, where *fresh* is what the server says.

        *anew*: the person has asked for other rows, by a filter, a page or an order.
        """
        if not anew and (self.ticked(rows) or tuple(fresh) == self.ids):
            return self
        return replace(self, ids=tuple(fresh), generation=self.generation + 1)
