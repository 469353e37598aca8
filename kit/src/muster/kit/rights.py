"""When rights change: tickets that were given before are worthless, everywhere and at once.

The authority numbers every change and tells it to all services. Each keeps, by person, the
revision that a ticket must have at least; what it may have missed, it asks for.
"""

from collections.abc import Callable

from muster.contracts.authority import Ticket
from muster.contracts.errors import Superseded
from muster.contracts.people import RightsChanged


class Rights:
    """Which revision of the rights a ticket must have."""

    def __init__(self) -> None:
        """Know of no change."""
        self.revision = 0
        """The latest change that has been heard of."""
        self._everyone = 0
        self._by_name: dict[str, int] = {}
        self._watchers: list[Callable[[RightsChanged], None]] = []

    def watch(self, callback: Callable[[RightsChanged], None]) -> None:
        """Call *callback* with every change, from now on."""
        self._watchers.append(callback)

    def check(self, ticket: Ticket) -> None:
        """Raise `Superseded` if the rights of the ticket's person have changed since."""
        needed = max(self._everyone, self._by_name.get(ticket.person.name, 0))
        if ticket.revision < needed:
            raise Superseded("your rights have changed: ask again")

    def heard(self, change: RightsChanged) -> None:
        """Take a change in; hearing it twice does no harm."""
        if change.everyone:
            self._everyone = max(self._everyone, change.revision)
            since = self._everyone
            self._by_name = {name: at for name, at in self._by_name.items() if at > since}
        for name in change.names:
            self._by_name[name] = max(self._by_name.get(name, 0), change.revision)
        self.revision = max(self.revision, change.revision)
        for tell in self._watchers:
            tell(change)
