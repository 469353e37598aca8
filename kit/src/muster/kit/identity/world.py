"""The broker's world: operator, accounts, and exactly what each kind of user may do.

NATS in operator mode: the broker knows one operator, who signs three accounts (SYS, MUSTER and
EXTERNAL); their users are JWTs that we mint. Allow-lists only, and nothing is inherited:

* a node is signed with a scoped key, so that all nodes share one template that the broker fills
  in with the node's id; a node's JWT cannot carry rights of its own;
* a service has a JWT with its own list;
* two users of SYS: the registry hears who connects, the authority may push revocations;
* service accounts are in EXTERNAL, see `muster.kit.identity.outside`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import TypeAdapter

from muster.contracts import (
    accounts,
    approvals,
    authority,
    certificates,
    devices,
    factors,
    nodes,
    oidc,
    passkeys,
    people,
    records,
    runs,
)
from muster.contracts.base import ACCOUNT, NODE, Call
from muster.contracts.names import NodeId, Token
from muster.contracts.people import RIGHTS_AFTER, RIGHTS_CHANGED
from muster.kit.files import private_dir, write_private
from muster.kit.identity import natsjwt, outside
from muster.kit.identity.nkeys import Key, Kind

SERVICES: Final = ("authority", "gateway", "registry", "scheduler")

_MINUTE: Final = 60 * 1_000_000_000
_NODE_ID: Final = TypeAdapter(NodeId)
_TOKEN: Final = TypeAdapter(Token)
_ANY: Final = -1
_USER: Final = {"subs": _ANY, "data": _ANY, "payload": _ANY}
_JETSTREAM: Final = {
    "mem_storage": _ANY,
    "disk_storage": _ANY,
    "streams": _ANY,
    "consumer": _ANY,
}

_KEYS: Final[dict[str, Kind]] = {
    "operator": "O",
    "sys": "A",
    "account": "A",
    "node-signing": "A",
    "external": "A",
}

NODE_TEMPLATE: Final[dict[str, Any]] = {
    "pub": {
        "allow": [
            "muster.hb.{{name()}}",
            "muster.svc.authority.renew.{{name()}}",
            "muster.svc.registry.inventory.{{name()}}",
            "muster.svc.scheduler.report.{{name()}}",
            "muster.svc.scheduler.sync.{{name()}}",
        ]
    },
    "sub": {"allow": ["muster.cmd.{{name()}}.*", "_INBOX_{{name()}}.>"]},
    "resp": {"max": 1, "ttl": _MINUTE},
    "subs": 20,
    "data": _ANY,
    "payload": 1024 * 1024,
    "allowed_connection_types": ["STANDARD"],
}
"""What every node may do; the broker puts the node's id in the place of ``{{name()}}``."""

_CONSUMERS: Final[dict[str, tuple[str, ...]]] = {
    "registry": ("registry_joined", "registry_approved", "registry_revoked"),
    "scheduler": ("scheduler_revoked", "scheduler_approvals"),
}
_ASKS: Final[dict[str, tuple[Call[Any, Any], ...]]] = {
    "authority": (nodes.NODE_FACTS, nodes.RESOLVE),
    "registry": (authority.ALERT,),
    "scheduler": (
        authority.SIGN,
        authority.RECHECK,
        approvals.RELEASE,
        nodes.RESOLVE,
        nodes.REACH,
    ),
}
INNER: Final = (
    approvals.RELEASE,
    authority.ALERT,
    authority.FLOODS,
    authority.REFUSED,
    authority.SIGN,
    authority.RECHECK,
    nodes.NODE_FACTS,
    nodes.REACH,
)
"""What only services ask; whoever takes the gateway over cannot even try."""

_MORE_PUB: Final[dict[str, tuple[str, ...]]] = {
    "authority": (
        authority.AUDIT_HEAD.everything,
        "muster.cmd.*.records",
        *(
            f"$JS.API.STREAM.{verb}.{stream}"
            for verb in ("CREATE", "UPDATE", "INFO")
            for stream in ("AUDIT", "IN")
        ),
        "$JS.API.DIRECT.GET.AUDIT",
        "$JS.API.STREAM.PURGE.IN",
    ),
    "scheduler": ("muster.cmd.*.*",),
    "gateway": ("$SRV.PING.*", "$SRV.INFO.*", "$SRV.STATS.*"),
}
_MORE_SUB: Final[dict[str, tuple[str, ...]]] = {
    "registry": ("muster.hb.*",),
    "gateway": ("muster.live.>",),
}


def _asks(name: str) -> list[str]:
    """Return the questions that a service may ask; the gateway asks all that people can."""
    if name != "gateway":
        all_ask: tuple[Call[Any, Any], ...] = (RIGHTS_AFTER, authority.FLOODS, authority.REFUSED)
        return [call.subject for call in (*all_ask, *_ASKS[name])]
    modules = (
        accounts, approvals, authority, certificates, devices, factors, nodes, oidc, passkeys,
        people, records, runs,
    )  # fmt: skip
    calls = [found for one in modules for found in vars(one).values() if isinstance(found, Call)]
    own = {NODE, ACCOUNT}
    return sorted({call.subject for call in calls if call.needs not in own and call not in INNER})


def _may(name: str) -> dict[str, Any]:
    """Return the permissions of the service *name*."""
    streams = ("FACTS", "DEAD")
    verbs = ("CREATE", "UPDATE", "INFO")
    publish = [
        *_asks(name),
        f"muster.fact.{name}.>",
        f"muster.live.{name}.>",
        f"muster.dead.{name}.>",
        *(f"$JS.API.STREAM.{verb}.{stream}" for verb in verbs for stream in streams),
        *_MORE_PUB.get(name, ()),
    ]
    for durable in _CONSUMERS.get(name, ()):
        publish += [
            f"$JS.API.CONSUMER.CREATE.FACTS.{durable}.>",
            f"$JS.API.CONSUMER.DURABLE.CREATE.FACTS.{durable}",
            f"$JS.API.CONSUMER.INFO.FACTS.{durable}",
            f"$JS.API.CONSUMER.MSG.NEXT.FACTS.{durable}",
            f"$JS.ACK.FACTS.{durable}.>",
        ]
    subscribe = [
        f"_INBOX_{name}.>",
        f"muster.svc.{name}.*",
        f"muster.svc.{name}.*.*",
        "$SRV.>",
        RIGHTS_CHANGED.subject,
        *_MORE_SUB.get(name, ()),
    ]
    return {
        "pub": {"allow": publish},
        "sub": {"allow": subscribe},
        "resp": {"max": 1, "ttl": 2 * _MINUTE},
    }


def _inner(node_signing: str, revocations: Mapping[str, int]) -> dict[str, Any]:
    """Return what the JWT of MUSTER says."""
    scope = {"kind": "user_scope", "key": node_signing, "role": "node", "template": NODE_TEMPLATE}
    return {
        "limits": {**natsjwt.UNLIMITED, **_JETSTREAM},
        "signing_keys": [scope],
        "exports": outside.exports(),
        "revocations": dict(revocations),
    }


def _kept(file: Path) -> dict[str, Any]:
    """Return what the account's JWT in *file* says; nothing if there is none."""
    if not file.exists():
        return {}
    said: dict[str, Any] = natsjwt.claims(file.read_text())["nats"]
    return said


def _same(kept: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether what is kept says what is wanted."""
    return {k: v for k, v in kept.items() if k not in {"type", "version"}} == wanted


@dataclass(frozen=True)
class World:
    """All keys of the broker's world, in one directory that only the server can read."""

    keys: Path

    @classmethod
    def open(cls, keys: Path) -> "World":
        """Return the world in the directory *keys*; what is missing is made."""
        private_dir(keys)
        world = cls(keys)
        for name, kind in _KEYS.items():
            if not (keys / f"{name}.nk").exists():
                write_private(keys / f"{name}.nk", Key.generate(kind).seed)
        if not (keys / "authority.key").exists():
            fresh = Ed25519PrivateKey.generate().private_bytes_raw()
            write_private(keys / "authority.key", natsjwt.text64(fresh))
        public = world.authority_key.public_key().public_bytes_raw()
        accepted = keys / "authority.pub"
        if not accepted.exists() or natsjwt.text64(public) not in accepted.read_text().split():
            write_private(accepted, natsjwt.text64(public) + "\n")
        return world

    def _key(self, name: str) -> Key:
        return Key.from_seed((self.keys / f"{name}.nk").read_text())

    @cached_property
    def operator(self) -> Key:
        """Signs accounts, and nothing else."""
        return self._key("operator")

    @cached_property
    def system(self) -> Key:
        """The account SYS."""
        return self._key("sys")

    @cached_property
    def account(self) -> Key:
        """The account MUSTER."""
        return self._key("account")

    @cached_property
    def external(self) -> Key:
        """The account EXTERNAL."""
        return self._key("external")

    @cached_property
    def node_signing(self) -> Key:
        """Signs nodes; bound to `NODE_TEMPLATE`."""
        return self._key("node-signing")

    @cached_property
    def authority_key(self) -> Ed25519PrivateKey:
        """Signs commands and tickets."""
        raw = natsjwt.bytes64((self.keys / "authority.key").read_text())
        return Ed25519PrivateKey.from_private_bytes(raw)

    def operator_jwt(self) -> str:
        """Return the JWT of the operator."""
        nats = {"system_account": self.system.public}
        fresh = natsjwt.encode("operator", self.operator.public, "muster", nats, self.operator)
        return self._kept("operator", fresh)

    def _kept(self, name: str, fresh: str) -> str:
        """Return the JWT of before if it says the same: a broker that reloads takes no other."""
        path = self.keys / f"{name}.jwt"
        said = path.read_text() if path.exists() else ""
        if not said or natsjwt.claims(said)["nats"] != natsjwt.claims(fresh)["nats"]:
            write_private(path, said := fresh)
        return said

    def system_jwt(self) -> str:
        """Return the JWT of the account SYS."""
        exports = [
            {
                "name": "account-monitoring-services",
                "subject": "$SYS.REQ.ACCOUNT.*.*",
                "type": "service",
                "response_type": "Stream",
                "account_token_position": 4,
            },
            {
                "name": "account-monitoring-streams",
                "subject": "$SYS.ACCOUNT.*.>",
                "type": "stream",
                "account_token_position": 3,
            },
        ]
        nats = {"limits": natsjwt.UNLIMITED, "exports": exports}
        fresh = natsjwt.encode("account", self.system.public, "SYS", nats, self.operator)
        return self._kept("system", fresh)

    def account_jwt(self, revocations: Mapping[str, int] | None = None) -> str:
        """Return the JWT of the account MUSTER.

        *revocations* maps public keys to Unix seconds: a JWT of that key that was issued no
        later is worthless.
        """
        nats = _inner(self.node_signing.public, revocations or {})
        return natsjwt.encode("account", self.account.public, "MUSTER", nats, self.operator)

    def external_jwt(self, templates: Mapping[str, outside.Template] | None = None) -> str:
        """Return the JWT of the account EXTERNAL.

        *templates* says, by the public key that has signed it, what each credential may do.
        """
        nats = outside.claims(self.account.public, templates or {})
        return natsjwt.encode("account", self.external.public, "EXTERNAL", nats, self.operator)

    @property
    def account_file(self) -> Path:
        """The JWT of MUSTER that the broker has, revocations included."""
        return self.keys / "account.jwt"

    @property
    def external_file(self) -> Path:
        """The JWT of EXTERNAL that the broker has, with who is in it."""
        return self.keys / "external.jwt"

    def current_account_jwt(self, revocations: Mapping[str, int] | None = None) -> str:
        """Return the JWT of MUSTER that was pushed last, so that a restart forgets no revocation.

        With other *revocations*, or from an earlier release, it is made and kept anew.
        """
        kept = _kept(self.account_file)
        wanted = kept.get("revocations", {}) if revocations is None else dict(revocations)
        if not _same(kept, _inner(self.node_signing.public, wanted)):
            write_private(self.account_file, self.account_jwt(wanted))
        return self.account_file.read_text()

    def current_external_jwt(self, templates: Mapping[str, outside.Template] | None = None) -> str:
        """Return the JWT of EXTERNAL that was pushed last; with other *templates* a new one."""
        kept = _kept(self.external_file)
        if templates is None:
            found = kept.get("signing_keys", [])
            templates = {scope["key"]: scope["template"] for scope in found}
        if not _same(kept, outside.claims(self.account.public, templates)):
            write_private(self.external_file, self.external_jwt(templates))
        return self.external_file.read_text()

    def mint_external(self, name: str, public: str, expires: datetime) -> tuple[str, str]:
        """Return the JWT of a service account with the key *public*, and who has signed it.

        The private half of that signer is gone afterwards. The broker lets the credential in as
        soon as the signer's public half stands in EXTERNAL, with a template.
        """
        _TOKEN.validate_python(name)
        signer, nats = Key.generate("A"), {"issuer_account": self.external.public}
        expiry = int(expires.timestamp())
        return natsjwt.encode("user", public, name, nats, signer, exp=expiry), signer.public

    def mint_node(self, node: str, public: str, expires: datetime) -> str:
        """Return the JWT of a node with the key *public*; its rights come from the template."""
        _NODE_ID.validate_python(node)  # a name such as `*` would open every node's commands
        nats = {"issuer_account": self.account.public}
        expiry = int(expires.timestamp())
        return natsjwt.encode("user", public, node, nats, self.node_signing, exp=expiry)

    def service_creds(self, name: str) -> str:
        """Return fresh credentials of the service *name*."""
        return self._creds(name, _may(name), self.account)

    def system_creds(self) -> dict[str, str]:
        """Return fresh credentials of the users of SYS, by name."""
        account = self.account.public
        events = [f"$SYS.ACCOUNT.{account}.{event}" for event in ("CONNECT", "DISCONNECT")]
        may = {
            "registry-sys": ([f"$SYS.REQ.ACCOUNT.{account}.CONNZ"], events),
            "authority-sys": (["$SYS.REQ.CLAIMS.UPDATE"], []),
        }
        return {
            name: self._creds(
                name,
                {"pub": {"allow": publish}, "sub": {"allow": [f"_INBOX_{name}.>", *subscribe]}},
                self.system,
            )
            for name, (publish, subscribe) in may.items()
        }

    def write_creds(self, folder: Path) -> None:
        """Write fresh credentials for every service, for its owner alone."""
        private_dir(folder)
        creds = {name: self.service_creds(name) for name in SERVICES} | self.system_creds()
        for name, text in creds.items():
            write_private(folder / f"{name}.creds", text)

    def _creds(self, name: str, may: dict[str, Any], account: Key) -> str:
        key = Key.generate("U")
        token = natsjwt.encode("user", key.public, name, {**_USER, **may}, account)
        return natsjwt.creds_text(token, key.seed)
