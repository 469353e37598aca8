"""One node, as we know it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from muster.contracts.nodes import Inventory, Metrics, Node, NodeState


@dataclass(slots=True)
class Entry:
    """One node; `row` is what the database keeps."""

    id: str
    name: str
    public_key: str
    joined: datetime
    state: NodeState
    state_since: datetime
    groups: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    seen: datetime | None = None
    reason: str = ""
    skew: float = 0.0
    version: str = ""
    trouble: str = ""
    alert: str = ""
    """What the server has noticed about it."""
    inventory: Inventory | None = None
    metrics: Metrics | None = None
    metrics_at: datetime | None = None
    seq: int = 0
    moved: int = 0
    """The `seq` of the last change of what grants go by: name, groups, tags."""
    accepted: float = 0.0
    """Monotonic time of the last heartbeat that was taken."""

    def view(self, *, brief: bool = False) -> Node:
        """Return the node as a contract."""
        return Node.model_construct(
            id=self.id,
            name=self.name,
            state=self.state,
            groups=self.groups,
            tags=self.tags,
            joined=self.joined,
            state_since=self.state_since,
            seen=self.seen,
            reason=self.reason,
            skew=self.skew,
            version=self.version,
            trouble="; ".join(filter(None, (self.alert, self.trouble)))[:1000],
            inventory=_brief_inventory(self.inventory) if brief else self.inventory,
            metrics=_brief_metrics(self.metrics) if brief else self.metrics,
            metrics_at=self.metrics_at,
            seq=self.seq,
        )

    def words(self) -> Iterator[str]:
        """Yield what a search looks at."""
        yield self.name
        yield self.id
        yield from self.groups
        yield from (f"{key}={value}" for key, value in self.tags.items())
        if self.inventory:
            yield self.inventory.hostname
            yield self.inventory.os
            yield from (one.address for one in self.inventory.addresses)


def _brief_metrics(metrics: Metrics | None) -> Metrics | None:
    if metrics is None:
        return None
    less: dict[str, Any] = {"cores": [], "disk_io": [], "net": [], "temperatures": []}
    return metrics.model_copy(update=less)


def _brief_inventory(inventory: Inventory | None) -> Inventory | None:
    return inventory and inventory.model_copy(update={"addresses": []})
