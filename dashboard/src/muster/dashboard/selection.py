"""Which nodes are ticked: never another one than the person saw.

Streamlit tells the *positions* of ticked rows. When a refreshed table has another order, the
same positions are other nodes. So:

* a frame (a list of ids in an order) belongs to a generation, and the generation is part of the
  widget's key: when ids or order change, the ticks are dropped, never shifted;
* while something is ticked, the frame stays as it is: values change, rows do not;
* ticks are read against the frame that was shown, and only ids leave this module.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Frame:
    """What is on the screen: ids in an order, under a generation."""

    ids: tuple[str, ...] = ()
    generation: int = 0

    def key(self, name: str) -> str:
        """Return the key of the widget that shows this frame."""
        return f"{name}-{self.generation}"

    def ticked(self, rows: Sequence[int]) -> tuple[str, ...]:
        """Return the ids behind ticked positions; positions that do not exist are nobody."""
        return tuple(self.ids[row] for row in rows if 0 <= row < len(self.ids))

    def next(self, fresh: Sequence[str], rows: Sequence[int]) -> "Frame":
        """Return the frame to show now, where *fresh* is what the server says."""
        if self.ticked(rows) or tuple(fresh) == self.ids:
            return self
        return Frame(tuple(fresh), self.generation + 1)
