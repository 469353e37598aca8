"""Logging in through an identity provider: who comes, with which roles, and who does not."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey

from muster.authority.settings import Settings
from muster.contracts.accounts import CREATE_ACCOUNT, CreateAccount
from muster.contracts.authority import LOGIN, Login, Session
from muster.contracts.base import NOTHING
from muster.contracts.errors import Conflict, Denied, Expired, NotFound, Unavailable
from muster.contracts.factors import START_FACTOR, StartFactor
from muster.contracts.names import new_id
from muster.contracts.oidc import (
    FINISH_OIDC,
    LINK_OIDC,
    LINK_USER,
    MY_IDENTITY,
    START_OIDC,
    WAYS,
    FinishOidc,
    LinkOidc,
    LinkUser,
    OidcFinished,
    OidcStarted,
    StartOidc,
)
from muster.contracts.people import (
    CHANGE_USER,
    DELETE_ROLE,
    DELETE_USER,
    FIND_USER,
    RESET_PASSWORD,
    ChangeUser,
    FindUser,
    ResetPassword,
    RoleName,
    User,
)
from muster.contracts.policy import Grant
from muster.kit.identity.nkeys import Key
from tests.authority.conftest import HOME, Stage
from tests.authority.provider import CLIENT, SECRET, LyingProvider, provider
from tests.authority.test_factors import with_factor
from tests.authority.test_passkeys import add
from tests.authority.test_passkeys import login as by_passkey

ROLES = {"ops": ["operator"], "cn=admins,dc=example": ["admin"], "old": ["gone"]}


@pytest.fixture
def acme() -> Iterator[LyingProvider]:
    """Run a provider."""
    with provider() as made:
        yield made


@pytest.fixture
def knowing(backstage: Stage, acme: LyingProvider) -> Stage:
    """Everything but the authority itself, with settings that name that provider."""
    secret = backstage.broker.data_dir / "oidc.secret"
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o600)
    backstage.settings = backstage.settings.model_copy(
        update={
            "public_url": "http://localhost:8420",
            "oidc_issuer": acme.url,
            "oidc_client_id": CLIENT,
            "oidc_client_secret_file": secret,
            "oidc_name": "Acme",
            "oidc_roles": ROLES,
        }
    )
    return backstage


@pytest.fixture
async def stage(knowing: Stage) -> AsyncIterator[Stage]:
    """The authority, which knows that provider."""
    async with knowing.playing():
        yield knowing


async def start(stage: Stage, target: str = "/device?code=x") -> OidcStarted:
    """Press the button."""
    return await stage.client.ask(START_OIDC, StartOidc(next=target, origin=HOME))


async def finish(stage: Stage, started: OidcStarted, back: dict[str, str]) -> OidcFinished:
    """Come back with what the provider says."""
    ask = FinishOidc(**back, browser=started.browser, origin=HOME)
    return await stage.client.ask(FINISH_OIDC, ask, timeout=20)


async def enter(stage: Stage, acme: LyingProvider, sub: str = "sub-1", **claims: Any) -> Session:
    """Log in through the provider."""
    claims = {"preferred_username": "Li.Wei@example.org", "groups": ["ops"], **claims}
    started = await start(stage)
    done = await finish(stage, started, acme.visit(started.url, sub, **claims))
    assert done.next == "/device?code=x"
    assert done.session
    return done.session


async def user(stage: Stage, name: str = "li.wei") -> User:
    """Return a person."""
    found: User = await stage.ask(FIND_USER, FindUser(name=name))
    return found


async def refused(stage: Stage) -> str:
    """Return why the last login was refused."""
    newest = next(r for r in await stage.audit(action="login") if r.result == "refused")
    return f"{newest.who}: {newest.detail}"


async def test_a_stranger_with_a_group_gets_an_account(stage: Stage, acme: LyingProvider) -> None:
    """With the roles of the group, a name that fits, no password; and it is on record."""
    assert (await stage.client.ask(WAYS, NOTHING)).provider == "Acme"
    session = await enter(stage, acme, name="Li\u202e Wei", groups=["ops", "sales"])
    granted = await stage.exchange(session.secret)
    assert (granted.person.name, granted.person.roles) == ("li.wei", ["operator"])
    seen = await user(stage)
    assert (seen.subject, seen.mapped_roles, seen.roles) == ("sub-1", ["operator"], [])
    assert (seen.full_name, seen.invited) == ("Li\\u202e Wei", False)
    actions = {(r.action, r.who): r.detail for r in await stage.audit()}
    assert actions["user.create", "@server"] == "li.wei, by Acme: sub-1"
    assert actions["user.roles", "@server"] == "li.wei, by Acme: none -> operator"
    assert actions["login", "li.wei"] == "by Acme"


async def test_roles_follow_the_groups(stage: Stage, acme: LyingProvider) -> None:
    """At each login; what was given by hand stays, and tickets of before are worthless."""
    first = await enter(stage, acme)
    await stage.ask(CHANGE_USER, ChangeUser(name="li.wei", roles=["viewer"]))
    await enter(stage, acme, groups=["cn=admins,dc=example", "old"])
    assert (await stage.exchange(first.secret)).person.roles == ["admin", "viewer"]
    await enter(stage, acme, groups=[])
    assert (await stage.exchange(first.secret)).person.roles == ["viewer"]
    assert (await user(stage)).roles == ["viewer"]


async def test_who_is_in_no_group_stays_out(stage: Stage, acme: LyingProvider) -> None:
    """As a stranger, and as one who was let in before: their rights are gone at once."""
    with pytest.raises(Denied, match="none of your groups"):
        await enter(stage, acme, groups=["sales"])
    with pytest.raises(Denied, match="role gone is not known"):
        await enter(stage, acme, groups=["old"])
    assert "li.wei (sub-1): by Acme: the role gone" in await refused(stage)
    with pytest.raises(NotFound):
        await user(stage)
    session = await enter(stage, acme)
    with pytest.raises(Denied, match="none of your groups"):
        await enter(stage, acme, groups=None)
    assert (await stage.exchange(session.secret)).person.permissions == []


async def test_groups_may_come_from_the_userinfo(stage: Stage, acme: LyingProvider) -> None:
    """Where the ID token has none; but only those of the same person."""
    acme.userinfo = {"sub": "sub-1", "groups": "ops"}
    assert (await enter(stage, acme, groups=None)).person.roles == ["operator"]
    acme.userinfo = {"sub": "sub-2", "groups": "cn=admins,dc=example"}
    with pytest.raises(Denied, match="none of your groups"):
        await enter(stage, acme, groups=None)


async def test_an_account_is_not_taken_over_by_its_name(stage: Stage, acme: LyingProvider) -> None:
    """Neither a local one, nor the administrator's, nor that of another who comes from there."""
    await stage.user("li.wei", "viewer")
    with pytest.raises(Conflict, match="link it at /identity"):
        await enter(stage, acme)
    for claims in ({"preferred_username": "admin"}, {"preferred_username": "@ADMIN!"}):
        with pytest.raises(Conflict, match="an account admin already"):
            await enter(stage, acme, **{"email": "admin@example.org", **claims})
    await enter(stage, acme, "sub-2", preferred_username="wu")
    with pytest.raises(Conflict, match="an account wu already"):
        await enter(stage, acme, "sub-3", preferred_username="wu")
    assert (await enter(stage, acme, "sub-2", preferred_username="other")).person.name == "wu"
    assert (await user(stage)).subject == ""


async def test_somebody_links_their_own_account(stage: Stage, acme: LyingProvider) -> None:
    """With their password, in the browser that asked, while the session lives."""
    session = await stage.user("li", "viewer")
    with pytest.raises(Denied, match="password"):
        await stage.ask(LINK_OIDC, LinkOidc(password="wrong"), session)  # noqa: S106
    ask = LinkOidc(password="the password of li", next="/identity")  # noqa: S106
    started = await stage.ask(LINK_OIDC, ask, session)
    done = await finish(stage, started, acme.visit(started.url, groups=["ops"]))
    assert (done.session, done.next) == (None, "/identity")
    mine = await stage.ask(MY_IDENTITY, NOTHING, session)
    assert (mine.provider, mine.subject) == ("Acme", "sub-1")
    assert (await enter(stage, acme)).person.roles == ["operator", "viewer"]
    assert (await stage.login("the password of li", "li")).person.name == "li"
    again = await stage.ask(LINK_OIDC, ask, session)
    with pytest.raises(Conflict, match="already"):
        await finish(stage, again, acme.visit(again.url, "sub-2"))
    wu = await stage.user("wu", "viewer")
    other = await stage.ask(LINK_OIDC, LinkOidc(password="the password of wu"), wu)  # noqa: S106
    with pytest.raises(Conflict, match="unlink li"):
        await finish(stage, other, acme.visit(other.url))
    late = await stage.ask(LINK_OIDC, LinkOidc(password="the password of wu"), wu)  # noqa: S106
    await stage.ask(CHANGE_USER, ChangeUser(name="wu", disabled=True))
    with pytest.raises(Denied, match="over"):
        await finish(stage, late, acme.visit(late.url, "sub-4"))


async def test_an_administrator_links_and_unlinks(stage: Stage, acme: LyingProvider) -> None:
    """By the provider's name of a person; nobody links who may do more than they themselves."""
    await stage.user("li.wei", "viewer")
    await stage.ask(LINK_USER, LinkUser(name="li.wei", subject="sub-1"))
    session = await enter(stage, acme)
    assert session.person.roles == ["operator", "viewer"]
    with pytest.raises(Conflict):
        await stage.ask(LINK_USER, LinkUser(name="admin", subject="sub-1"))
    await stage.role("helpdesk", Grant(actions=["user.*"], nodes="all"))
    helper = await stage.user("helper", "helpdesk")
    with pytest.raises(Denied, match="not theirs"):
        await stage.ask(LINK_USER, LinkUser(name="admin", subject="sub-9"), helper)
    await stage.ask(LINK_USER, LinkUser(name="li.wei"))
    with pytest.raises(Conflict, match="already"):
        await enter(stage, acme)
    assert (await stage.exchange(session.secret)).person.roles == ["viewer"]
    assert len(await stage.audit(action="user.link")) == 2


async def test_nobody_links_themselves_to_rights(stage: Stage, acme: LyingProvider) -> None:
    """Who links also gives what that person's groups are going to give."""
    await stage.role("helpdesk", Grant(actions=["user.*"], nodes="all"))
    helper = await stage.user("helper", "helpdesk")
    for name in ("helper", "li.wei"):
        if name == "li.wei":
            await stage.user(name)
        with pytest.raises(Denied, match="not theirs"):
            await stage.ask(LINK_USER, LinkUser(name=name, subject="sub-of-an-admin"), helper)
    made = await enter(stage, acme, "sub-of-an-admin", groups=["cn=admins,dc=example"],
                       preferred_username="boss")  # fmt: skip
    assert made.person.name == "boss"


async def test_nobody_logs_in_as_a_service_account(stage: Stage, acme: LyingProvider) -> None:
    """It cannot be linked, whoever asks."""
    key = Key.generate("U").public
    await stage.ask(CREATE_ACCOUNT, CreateAccount(name="ci", key=key))
    with pytest.raises(Conflict, match="service account"):
        await stage.ask(LINK_USER, LinkUser(name="ci", subject="sub-1"))
    assert (await enter(stage, acme)).person.name == "li.wei"


async def test_a_reset_takes_the_link_as_well(stage: Stage, acme: LyingProvider) -> None:
    """Whoever has linked their own login with somebody's account is out."""
    await enter(stage, acme)
    await stage.ask(RESET_PASSWORD, ResetPassword(name="li.wei"))
    assert ((await user(stage)).subject, (await user(stage)).mapped_roles) == ("", [])
    with pytest.raises(Conflict, match="already"):
        await enter(stage, acme)


async def test_a_group_that_gives_nothing_any_more_takes_the_role(
    knowing: Stage, acme: LyingProvider
) -> None:
    """Also of who does not log in again: a token lives for long."""
    async with knowing.playing():
        await enter(knowing, acme, groups=["ops", "cn=admins,dc=example"])
        assert (await user(knowing)).mapped_roles == ["admin", "operator"]
    knowing.settings = knowing.settings.model_copy(update={"oidc_roles": {"ops": ["operator"]}})
    async with knowing.playing():
        assert (await user(knowing)).mapped_roles == ["operator"]
        assert (await knowing.audit(action="user.roles"))[0].detail.startswith("li.wei: fewer")


async def test_who_is_disabled_stays_out(stage: Stage, acme: LyingProvider) -> None:
    """Whatever the provider says; who was deleted comes as a stranger."""
    await enter(stage, acme)
    await stage.ask(CHANGE_USER, ChangeUser(name="li.wei", disabled=True))
    with pytest.raises(Denied, match="disabled"):
        await enter(stage, acme)
    await stage.ask(DELETE_USER, FindUser(name="li.wei"))
    assert (await enter(stage, acme)).person.name == "li.wei"


async def test_strangers_are_let_in_only_if_that_is_wanted(
    knowing: Stage, acme: LyingProvider
) -> None:
    """With `oidc_create_users = false` an administrator makes accounts and links them."""
    closed: dict[str, Any] = {"oidc_create_users": False}
    knowing.settings = knowing.settings.model_copy(update=closed)
    async with knowing.playing():
        with pytest.raises(Denied, match="nobody here is known to Acme as sub-1"):
            await enter(knowing, acme)


async def test_the_last_administrator_is_one_of_our_own(stage: Stage, acme: LyingProvider) -> None:
    """Who is one by a group does not count: the provider can take that back at any time."""
    await stage.user("li.wei", "viewer")
    await stage.ask(LINK_USER, LinkUser(name="li.wei", subject="sub-1"))
    boss = await enter(stage, acme, groups=["cn=admins,dc=example"])
    with pytest.raises(Conflict, match="nobody who may do everything"):
        await stage.ask(CHANGE_USER, ChangeUser(name="admin", disabled=True), boss.secret)
    await stage.role("gone", Grant(actions=["node.read"], nodes="all"))
    await enter(stage, acme, groups=["old"])
    with pytest.raises(Conflict, match="in use: li.wei"):
        await stage.ask(DELETE_ROLE, RoleName(name="gone"))


async def test_a_second_factor_is_asked_for_as_well(stage: Stage, acme: LyingProvider) -> None:
    """Who has set one up here needs it, whichever way they come."""
    await with_factor(stage, "li.wei")
    await stage.ask(LINK_USER, LinkUser(name="li.wei", subject="sub-1"))
    assert (await enter(stage, acme)).needs_code


async def test_without_a_password_a_login_just_now_is_the_proof(
    stage: Stage, acme: LyingProvider
) -> None:
    """To set up a second factor, who has no password logs in once more; nothing else opens."""
    session = await enter(stage, acme)
    ask = StartFactor(password="none")  # noqa: S106
    assert (await stage.ask(START_FACTOR, ask, session.secret)).secret
    stage.clock.ahead = timedelta(minutes=11)
    with pytest.raises(Denied, match="log in once more"):
        await stage.ask(START_FACTOR, ask, session.secret)
    for password in ("", " ", "none"):
        with pytest.raises(Exception, match="wrong|at least 1"):
            await stage.client.ask(LOGIN, Login(name="li.wei", password=password), timeout=20)


async def test_a_passkey_is_no_way_around_the_provider(stage: Stage, acme: LyingProvider) -> None:
    """Who has no password here has it as a second factor: the door is the provider's."""
    session = await enter(stage, acme)
    key, _ = await add(stage, session.secret, "nobody")
    with pytest.raises(Denied, match="log in as you always do first"):
        await by_passkey(stage, key)
    half = await enter(stage, acme)
    assert (half.needs_code, half.passkey) == (True, True)
    assert (await by_passkey(stage, key, half.secret)).person.name == "li.wei"


async def test_a_state_is_good_once_in_one_browser(stage: Stage, acme: LyingProvider) -> None:
    """Unknown, used, too old, or brought by another browser: nothing is even asked for."""
    started = await start(stage)
    back = acme.visit(started.url, preferred_username="li", groups=["ops"])
    acme.seen.clear()
    with pytest.raises(Expired):
        await finish(stage, started, {**back, "state": "made-up"})
    other = await start(stage)
    with pytest.raises(Denied, match="another browser"):
        await finish(stage, other, back)
    with pytest.raises(Expired):
        await finish(stage, started, back)
    assert acme.seen == []
    good = await start(stage)
    back = acme.visit(good.url, preferred_username="li", groups=["ops"])
    assert (await finish(stage, good, back)).session
    with pytest.raises(Expired):
        await finish(stage, good, back)
    again = await start(stage)
    state = acme.visit(again.url)["state"]
    with pytest.raises(Denied, match="400 invalid_grant"):
        await finish(stage, again, {"state": state, "code": back["code"]})
    late = await start(stage)
    stage.clock.ahead = timedelta(minutes=11)
    with pytest.raises(Expired, match="begin again"):
        await finish(stage, late, acme.visit(late.url))
    assert "@stranger: by Acme: this login has taken too long" in await refused(stage)


async def test_a_code_of_another_login_is_worthless(stage: Stage, acme: LyingProvider) -> None:
    """PKCE: the verifier is ours, and never leaves us before the exchange."""
    mine, theirs = await start(stage), await start(stage)
    stolen = acme.visit(theirs.url, preferred_username="li", groups=["ops"])["code"]
    state = acme.visit(mine.url)["state"]
    with pytest.raises(Denied, match="invalid_grant"):
        await finish(stage, mine, {"state": state, "code": stolen})


LIES: list[tuple[dict[str, Any], str]] = [
    ({"iss": "https://evil.example"}, "iss"),
    ({"iss": None}, "iss"),
    ({"aud": "another"}, "aud"),
    ({"aud": [CLIENT, "another"]}, "somebody else"),
    ({"azp": "another"}, "somebody else"),
    ({"aud": None}, "aud"),
    ({"exp": 1}, "expired"),
    ({"exp": None}, "exp"),
    ({"iat": 1 << 40}, "in the future"),
    ({"nonce": "another"}, "another question"),
    ({"nonce": None}, "nonce"),
    ({"sub": ""}, "sub|names nobody"),
    ({"sub": None}, "sub"),
    ({"sub": 7}, "sub"),
    ({"sub": "x" * 256}, "names nobody"),
]


@pytest.mark.parametrize(("lie", "why"), LIES)
async def test_an_id_token_that_does_not_fit_opens_nothing(
    stage: Stage, acme: LyingProvider, lie: dict[str, Any], why: str
) -> None:
    """Of another issuer, for another client, expired, of another login, about nobody."""
    acme.lies = lie
    with pytest.raises(Denied, match=f"(?i)does not fit.*({why})"):
        await enter(stage, acme)
    assert "does not fit" in await refused(stage)


def _part(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def forged(claims: dict[str, Any], algorithm: str, secret: bytes) -> str:
    """Return a token that whoever knows *secret* can make; an empty one makes no signature."""
    parts = [_part(json.dumps(one).encode()) for one in ({"alg": algorithm}, claims)]
    seal = hmac.digest(secret, ".".join(parts).encode(), "sha256") if secret else b""
    return ".".join([*parts, _part(seal)])


async def test_a_signature_that_is_not_the_providers_opens_nothing(
    stage: Stage, acme: LyingProvider
) -> None:
    """None; with our own secret, or the public key as one; of a stranger; with a shared key."""
    genuine = acme.key
    assert isinstance(genuine, RSAKey)
    pem = genuine.as_pem(private=False)
    shared = OctKey.import_key(SECRET)
    acme.published.append(shared.as_dict(private=True))
    wrong = [("none", b""), ("None", b""), ("RS256", b""), ("HS256", SECRET.encode())]
    for algorithm, secret in (*wrong, ("HS256", pem), ("RS256", pem)):
        started = await start(stage)
        back = acme.visit(started.url, groups=["ops"])
        honest = acme.signed(acme.codes[back["code"]])
        claims = jwt.decode(honest, genuine, algorithms=["RS256"]).claims
        acme.token = forged(claims, algorithm, secret)
        with pytest.raises(Denied, match="no key of the provider"):
            await finish(stage, started, back)
        acme.token = ""
    acme.key = RSAKey.generate_key(2048)
    with pytest.raises(Denied, match="no key of the provider"):
        await enter(stage, acme)
    acme.key = genuine
    assert (await enter(stage, acme)).secret


async def test_the_provider_may_change_its_keys(stage: Stage, acme: LyingProvider) -> None:
    """New ones are asked for when none of the known ones fits; the old ones are worthless then."""
    await enter(stage, acme)
    old = acme.key
    acme.key = RSAKey.generate_key(2048, auto_kid=True)
    acme.published = [{"kty": "future"}, {"kty": "RSA", "n": 1}, acme.key.as_dict(private=False)]
    await enter(stage, acme)
    acme.key = old
    with pytest.raises(Denied, match="no key"):
        await enter(stage, acme)


async def test_a_provider_that_misbehaves_is_not_followed(
    stage: Stage, acme: LyingProvider
) -> None:
    """No redirect, nothing too long, no address where somebody reads along, no other issuer."""
    well_known = "/.well-known/openid-configuration"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"issuer": "https://evil.example"}, "oidc_issuer has to be exactly that"),
        ({"token_endpoint": "http://evil.example/token"}, "not safe"),
        ({"jwks_uri": "file:///etc/passwd"}, "not safe"),
        ({"userinfo_endpoint": "http://10.0.0.1/"}, "not safe"),
        ({"token_endpoint": None}, "token_endpoint"),
    ]
    for lie, why in wrong:
        acme.discovery = lie
        with pytest.raises(Unavailable, match=why):
            await start(stage)
    acme.discovery = {}
    for status, body in ((302, b""), (200, b"[]"), (200, b"x" * 600_000), (500, b"{}")):
        acme.answers = {well_known: (status, body)}
        with pytest.raises(Unavailable, match="Acme"):
            await start(stage)
    assert "/elsewhere" not in acme.seen
    acme.answers = {"/token": (302, b"{}")}
    with pytest.raises(Denied, match="302"):
        await enter(stage, acme)
    assert "/elsewhere" not in acme.seen
    acme.answers = {}
    assert (await enter(stage, acme)).secret


async def test_the_secret_is_for_its_owner_alone(stage: Stage, acme: LyingProvider) -> None:
    """Others who can read it stop the login; providers that want it in the form get it there."""
    path = stage.settings.oidc_client_secret_file
    assert path
    path.chmod(0o640)
    with pytest.raises(Unavailable, match="chmod 600"):
        await enter(stage, acme)
    path.chmod(0o600)
    path.write_text("another")
    with pytest.raises(Denied, match="401 invalid_client"):
        await enter(stage, acme)


async def test_the_secret_may_go_in_the_form(stage: Stage, acme: LyingProvider) -> None:
    """For providers that take it no other way."""
    acme.discovery = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    assert (await enter(stage, acme)).secret


async def with_other_settings(stage: Stage, acme: LyingProvider) -> None:
    """Let somebody in, then start again without a provider."""
    async with stage.playing():
        session = await enter(stage, acme, groups=["cn=admins,dc=example"])
        assert (await stage.exchange(session.secret)).person.roles == ["admin"]
        await stage.ask(LINK_USER, LinkUser(name="li.wei"))
        assert (await user(stage)).mapped_roles == []
        await stage.ask(LINK_USER, LinkUser(name="li.wei", subject="sub-1"))
        session = await enter(stage, acme)
    without: dict[str, Any] = {"oidc_issuer": ""}
    stage.settings = stage.settings.model_copy(update=without)
    async with stage.playing():
        seen = await user(stage)
        assert (seen.mapped_roles, seen.subject) == ([], "sub-1")
        assert (await stage.exchange(session.secret)).person.grants == []


async def test_roles_of_another_provider_are_worthless(knowing: Stage, acme: LyingProvider) -> None:
    """When the settings name no provider any more, what its groups gave is gone."""
    await with_other_settings(knowing, acme)


async def test_the_same_on_postgresql(
    knowing: Stage, acme: LyingProvider, postgres_url: str
) -> None:
    """Another database answers the same."""
    knowing.database = f"{postgres_url}&schema=t{new_id()}"
    await with_other_settings(knowing, acme)


async def test_without_a_provider_there_is_no_such_way(backstage: Stage) -> None:
    """Nothing is offered, and whoever asks is told which setting is missing."""
    async with backstage.playing():
        assert (await backstage.client.ask(WAYS, NOTHING)).provider == ""
        with pytest.raises(NotFound, match="oidc_issuer"):
            await start(backstage)


def settings(**values: Any) -> Settings:
    """Return settings with what is needed besides."""
    known = {"oidc_client_id": "m", "oidc_client_secret_file": "/s", "data_dir": "/d"}
    return Settings.model_validate({**known, **values})


def test_the_table_of_roles_has_three_forms() -> None:
    """A table in the file; pairs in the environment; one role or several."""
    pairs = settings(oidc_roles=["a=admin", "a=viewer", "cn=x=operator"]).oidc_roles
    assert pairs == {"a": ["admin", "viewer"], "cn=x": ["operator"]}
    assert settings(oidc_roles={"a": "admin", "b": ["x", "y"]}).oidc_roles["b"] == ["x", "y"]
    assert settings(oidc_scopes=["groups"]).oidc_scopes == ["openid", "groups"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"oidc_issuer": "http://login.example"},
        {"oidc_issuer": "https://u:p@login.example"},
        {"oidc_issuer": "https://login.example?x"},
        {"oidc_issuer": "login.example"},
        {"oidc_issuer": "http://["},
        {"oidc_issuer": "https://login.example", "oidc_client_id": ""},
        {"oidc_issuer": "https://login.example", "oidc_client_secret_file": None},
        {"oidc_roles": ["admins"]},
        {"oidc_roles": {"a": ["not a role"]}},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(wrong: dict[str, Any]) -> None:
    """Before anything starts: http only on this machine itself, and nothing is left out."""
    with pytest.raises(ValueError, match="oidc_"):
        settings(**wrong)
    assert settings(oidc_issuer="http://localhost:9400").oidc_client_id == "m"
