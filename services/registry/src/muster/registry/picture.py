"""The picture of all nodes that every question is answered from; the database is behind it.

Every change gets the next number of one counter, so that a reader can ask what has changed
since. The counter lives as long as this process: `epoch` tells one life from another.
"""

import bisect

from muster.contracts.names import new_id
from muster.registry.entry import Entry


class Picture:
    """All nodes."""

    def __init__(self) -> None:
        """Begin a new epoch, empty."""
        self.epoch = new_id()
        self.seq = 0
        self.by_id: dict[str, Entry] = {}
        self.by_key: dict[str, Entry] = {}
        self.by_name: dict[str, Entry] = {}
        self.names: list[str] = []

    def add(self, entry: Entry) -> None:
        """Take a node in."""
        self.by_id[entry.id] = self.by_key[entry.public_key] = entry
        self.by_name[entry.name] = entry
        bisect.insort(self.names, entry.name)
        self.changed(entry)

    def rename(self, entry: Entry, name: str) -> None:
        """Give a node another name."""
        del self.by_name[entry.name]
        self.names.remove(entry.name)
        entry.name = name
        self.by_name[name] = entry
        bisect.insort(self.names, name)
        self.moved(entry)

    def changed(self, entry: Entry) -> None:
        """Give a node the next number."""
        self.seq += 1
        entry.seq = self.seq

    def moved(self, entry: Entry) -> None:
        """Do as `changed`, for what grants go by: others may see the node now."""
        self.changed(entry)
        entry.moved = entry.seq
