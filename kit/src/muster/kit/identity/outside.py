"""External systems at the broker: an account of NATS of their own, and what each of them may do.

They are not in the account of the services. The broker answers a publish into a stream on whatever
reply subject the publisher names, and it does so itself, past all permissions: in one account an
external system could have it speak on the commands, heartbeats and questions of everybody. Out of
an account of its own nothing leads in but the imports below, and no answer leads anywhere but back.

Each credential is signed with a key that is made for it and thrown away; the key's public half
stands in the account, with a template that says what may be done by it. So a change of rights needs
no other credentials: the broker gets another template. What is taken out is worthless for ever.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from muster.contracts import accounts, authority, nodes, people, runs
from muster.contracts.base import Call
from muster.kit import policy
from muster.kit.identity import natsjwt

OUTER: Final[tuple[Call[Any, Any], ...]] = (
    accounts.GET_TICKET,
    authority.CREATE_JOIN_TOKEN,
    authority.LIST_AUDIT,
    authority.REVOKE_NODE,
    people.MAY,
    nodes.LIST_NODES,
    nodes.NODES_SINCE,
    nodes.FIND_NODE,
    nodes.RESOLVE,
    nodes.RENAME_NODE,
    nodes.TAG_NODE,
    nodes.GROUP_NODE,
    nodes.READ_METRICS,
    nodes.FLEET_STATS,
    runs.CREATE_RUN,
    runs.GET_RUN,
    runs.LIST_RUNS,
    runs.CANCEL_RUN,
    runs.RUN_EVENTS,
    runs.READ_OUTPUT,
    runs.LIST_FILES,
    runs.READ_FILE,
)
"""What may be asked from outside at all, by who has the right: nodes, runs, and the audit.

People, roles and other ways in are for people; so is approving, or a program would be the other
pair of eyes.
"""

SUBJECTS: Final = (
    f"{accounts.INGRESS}.>",
    *(
        f"{call.subject}.*" if call is accounts.GET_TICKET else call.subject
        for call in sorted(OUTER, key=lambda call: call.subject)
    ),
)
"""What leads from the account of external systems into that of the services, and nothing else."""

Template = dict[str, Any]
_CONNECTIONS: Final = 1000
"""Of all external systems together, so that one cannot take the places of nodes."""


def exports() -> list[dict[str, str]]:
    """Return what the services' account offers."""
    return [
        {"name": one, "subject": one, "type": "service", "response_type": "Singleton"}
        for one in SUBJECTS
    ]


def inbox(name: str) -> str:
    """Return the prefix of the inboxes of a service account."""
    return f"_INBOX_{name}"


def sayable(name: str, permissions: Iterable[str]) -> list[str]:
    """Return the subjects that the service account *name*, with *permissions*, may publish on."""
    held = list(permissions)
    granted = [
        call.subject
        for call in OUTER
        if call is not accounts.GET_TICKET and policy.allows(held, call.needs)
    ]
    own = [f"{accounts.INGRESS}.{name}.>", f"{accounts.GET_TICKET.subject}.{name}"]
    return own + sorted(granted)


def template(name: str, permissions: Iterable[str]) -> Template:
    """Return what the broker lets the service account *name* do."""
    return {
        "pub": {"allow": sayable(name, permissions)},
        "sub": {"allow": [f"{inbox(name)}.>"]},
        "subs": 20,
        "data": -1,
        "payload": 1024 * 1024,
        "allowed_connection_types": ["STANDARD"],
    }


def claims(account: str, templates: Mapping[str, Template]) -> dict[str, Any]:
    """Return what the JWT of EXTERNAL says: no streams, no exports, and nobody but by a scope.

    *account* is that of the services, *templates* are by the keys that sign for them.
    """
    imports = [
        {"name": one, "subject": one, "account": account, "type": "service"} for one in SUBJECTS
    ]
    scopes = [
        {"kind": "user_scope", "key": key, "role": "external", "template": templates[key]}
        for key in sorted(templates)
    ]
    limits = {**natsjwt.UNLIMITED, "conn": _CONNECTIONS}
    return {"limits": limits, "signing_keys": scopes, "imports": imports}
