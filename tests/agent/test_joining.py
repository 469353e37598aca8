"""A host becomes a node: the token, the server that is believed, and what is kept."""

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from muster.agent.home import Home
from muster.agent.identity import Identity
from muster.agent.joining import Token, join
from muster.contracts.authority import Joined, Renewed
from muster.contracts.errors import Conflict, Denied, Expired, Malformed, NotFound, Unavailable
from muster.kit.identity import natsjwt, nkeys
from muster.kit.identity.certificates import create_ca, fingerprint, issue_server, vouch
from muster.kit.identity.nkeys import Key
from muster.kit.testing import Broker
from tests.agent import stage

NODE = "nabcdefghijklmnop"
JOINED = Joined(
    node=NODE,
    jwt="a.b.c",
    authority_keys=["QUJD"],
    epoch=3,
    urls=["nats://127.0.0.1:1"],
    ca="",
)


@dataclass
class Gateway:
    """The two endpoints that a joining host needs."""

    url: str = ""
    ca: bytes = b""
    vouchers: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    answer: tuple[int, dict[str, Any]] = (200, json.loads(JOINED.model_dump_json()))

    def line(self, **other: str) -> str:
        """Return a one-line token."""
        said = {"u": self.url, "f": fingerprint(self.ca) if self.ca else "", "s": "secret", **other}
        return "muster1." + base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")

    def problem(self, status: int, code: str, detail: str) -> None:
        """Answer with an error from now on."""
        self.answer = (status, {"status": status, "code": code, "detail": detail})


class Handler(BaseHTTPRequestHandler):
    """Answers as a gateway does."""

    gateway: ClassVar[Gateway]

    def _say(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """Show the CA."""
        if self.path == "/api/v1/ca":
            self._say(200, self.gateway.ca)
        if self.path == "/api/v1/ca/news":
            self._say(200, json.dumps({"vouchers": self.gateway.vouchers}).encode())

    def do_POST(self) -> None:
        """Let a host join."""
        assert self.path == "/api/v1/join"
        asked = self.rfile.read(int(self.headers["Content-Length"]))
        self.gateway.asked.append(json.loads(asked))
        status, body = self.gateway.answer
        place = {"Location": body["location"]} if "location" in body else {}
        self._say(status, json.dumps(body).encode(), **place)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Quiet(HTTPServer):
    """Does not mind a client that does not trust it and hangs up."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving(gateway: Gateway, tls: ssl.SSLContext | None) -> Iterator[int]:
    handler = type("Handler", (Handler,), {"gateway": gateway})
    server = Quiet(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """Serve HTTPS with a CA of its own."""
    ca = create_ca()
    issued = issue_server(ca, ["127.0.0.1"])
    (tmp_path / "cert.pem").write_bytes(issued.cert)
    (tmp_path / "key.pem").write_bytes(issued.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    gateway = Gateway(ca=ca.cert)
    with _serving(gateway, context) as port:
        gateway.url = f"https://127.0.0.1:{port}"
        yield gateway


@pytest.fixture
def plain() -> Iterator[Gateway]:
    """Serve HTTP on the loopback."""
    gateway = Gateway()
    with _serving(gateway, None) as port:
        gateway.url = f"http://127.0.0.1:{port}"
        yield gateway


def test_the_key_is_made_here_and_proven(gateway: Gateway) -> None:
    """The server gets the public half and a signature over the secret; never the private half."""
    joined, key = join(Token.parse(gateway.line()), "a-host")
    assert joined == JOINED
    asked = gateway.asked[0]
    assert asked["public_key"] == key.public
    assert asked["hostname"] == "a-host"
    assert key.seed not in json.dumps(asked)
    proof = base64.urlsafe_b64decode(asked["proof"])
    assert nkeys.verify(key.public, f"secret{key.public}".encode(), proof)


def test_another_authority_is_not_believed(gateway: Gateway) -> None:
    """The fingerprint in the token decides; the secret is not sent to anybody else."""
    with pytest.raises(Denied, match="not the one that the token names"):
        join(Token.parse(gateway.line(f=fingerprint(create_ca().cert))))
    assert gateway.asked == []


def test_a_certificate_of_another_authority_is_not_believed(gateway: Gateway) -> None:
    """Somebody in between can show the true CA, but has no certificate of it."""
    true = create_ca()
    gateway.ca = true.cert
    with pytest.raises(Unavailable, match="certificate verify failed"):
        join(Token.parse(gateway.line()))
    assert gateway.asked == []


def test_what_is_shown_beside_the_true_authority_is_not_believed(gateway: Gateway) -> None:
    """The server's own one is not enough reason to trust another that comes with it."""
    true = create_ca()
    line = gateway.line(f=fingerprint(true.cert))
    for shown in (true.cert + gateway.ca, gateway.ca + true.cert):
        gateway.ca = shown
        with pytest.raises(Unavailable, match="certificate verify failed"):
            join(Token.parse(line))
    assert gateway.asked == []


def test_a_token_outlives_the_authority_that_it_names(gateway: Gateway) -> None:
    """If the old one vouches for the one that the server has now; not without that."""
    old, new = create_ca(), gateway.ca
    line = gateway.line(f=fingerprint(old.cert))
    gateway.ca = new + old.cert
    with pytest.raises(Unavailable, match="certificate verify failed"):
        join(Token.parse(line))
    voucher = vouch(old, new, datetime.now(UTC))
    assert voucher
    gateway.vouchers = [voucher.decode()]
    assert join(Token.parse(line))[0] == JOINED


def test_a_certificate_for_another_host_is_not_believed(gateway: Gateway) -> None:
    """The name that was dialled must be in it."""
    line = gateway.line(u=gateway.url.replace("127.0.0.1", "localhost"))
    with pytest.raises(Unavailable, match="localhost"):
        join(Token.parse(line))
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(409, "conflict", Conflict), (410, "expired", Expired), (404, "not_found", NotFound)],
)
def test_a_refusal_arrives_as_what_it_is(
    gateway: Gateway, status: int, code: str, kind: type[Exception]
) -> None:
    """Used, expired, unknown: with the server's words, made safe for a terminal."""
    gateway.problem(status, code, "this join token\x1b[2J has been used")
    with pytest.raises(kind, match=r"token\\x1b\[2J has been used"):
        join(Token.parse(gateway.line()))


def test_nobody_is_followed_elsewhere(gateway: Gateway) -> None:
    """A redirect could carry the secret away."""
    gateway.answer = (307, {"location": "https://127.0.0.1:1/"})
    with pytest.raises(Unavailable, match="307"):
        join(Token.parse(gateway.line()))


def test_strange_answers_are_errors(gateway: Gateway) -> None:
    """Whoever answers, the host does not join by accident."""
    gateway.answer = (200, {"hello": "world"})
    with pytest.raises(Malformed):
        join(Token.parse(gateway.line()))
    gateway.answer = (500, {})
    with pytest.raises(Unavailable, match="500"):
        join(Token.parse(gateway.line()))
    gateway.ca = b"no certificate"
    with pytest.raises(Denied):
        join(Token("https" + gateway.url[5:], "0" * 64, "secret"))


def test_a_dead_server_is_named(tmp_path: Path) -> None:
    """Where it was tried, and what the system says."""
    token = Token("https://127.0.0.1:1", "0" * 64, "secret")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 cannot be reached: .*refused"):
        join(token)


def test_without_tls_only_to_this_machine(plain: Gateway) -> None:
    """On the loopback; anywhere else the secret would be readable."""
    assert join(Token.parse(plain.line()))[0] == JOINED
    for url in ("http://192.0.2.1:80", "http://example.org", "http://127.0.0.1.example.org"):
        with pytest.raises(Denied, match="not encrypted"):
            Token.parse(plain.line(u=url))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "muster1.",
        "muster1.%%%",
        "muster1.bm90IGpzb24",
        "muster2.e30",
        "secret",
        "muster1." + base64.urlsafe_b64encode(b'{"u": "https://x"}').decode(),
        "muster1." + base64.urlsafe_b64encode(b'{"u": "https://x", "f": "", "s": "1"}').decode(),
        "muster1." + base64.urlsafe_b64encode(b'{"u": "ftp://x", "f": "ab", "s": "1"}').decode(),
        "muster1." + base64.urlsafe_b64encode(b'["u"]').decode(),
    ],
)
def test_a_damaged_token_is_named_as_such(line: str) -> None:
    """Nothing is sent anywhere."""
    with pytest.raises(Malformed, match="token"):
        Token.parse(line)


def _agent(*words: str, home: Home, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "muster.agent", *words, "--data-dir", str(home.root)],
        capture_output=True,
        text=True,
        timeout=60,
        input=stdin,
        check=False,
    )


def test_who_may_run_commands_is_said_at_joining(plain: Gateway, tmp_path: Path) -> None:
    """It becomes the host's policy; a user who is not there is told before the token is used."""
    home = Home(tmp_path / "data")
    line = plain.line()
    wrong = _agent("join", line, "--users", "root,nobody-at-all", home=home)
    assert wrong.returncode == 2
    assert "nobody-at-all" in wrong.stderr
    assert _agent("join", line, "--users", "root,daemon", home=home).returncode == 0
    assert 'users = ["root", "daemon"]' in home.policy.read_text()


def test_joining_keeps_a_private_identity(plain: Gateway, tmp_path: Path) -> None:
    """The directory is 0700, the file 0600; a second join needs --force."""
    home = Home(tmp_path / "data")
    done = _agent("join", plain.line(), "--monitor-only", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert NODE in done.stdout
    assert home.root.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in home.root.iterdir()} == {0}
    identity = Identity.load(home)
    assert (identity.node, identity.epoch) == (NODE, 3)
    assert identity.seed.startswith("SU")
    assert "run = false" in home.policy.read_text()
    again = _agent("join", plain.line(), home=home)
    assert again.returncode == 1
    assert "--force" in again.stderr
    assert Identity.load(home) == identity
    assert len(plain.asked) == 1
    home.journal.write_text("of the old node")
    forced = _agent("join", "-", "--force", home=home, stdin=plain.line() + "\n")
    assert forced.returncode == 0
    assert not home.journal.exists()
    assert Identity.load(home).seed != identity.seed


def test_a_failed_join_leaves_nothing(plain: Gateway, tmp_path: Path) -> None:
    """Exit code 1 and one line for a refusal, 2 for a token that is none."""
    home = Home(tmp_path / "data")
    plain.problem(409, "conflict", "this join token has been used: make another")
    done = _agent("join", plain.line(), home=home)
    assert done.returncode == 1
    assert done.stderr == "muster-agent: this join token has been used: make another\n"
    assert not home.identity.exists()
    wrong = _agent("join", "muster1.x", home=home)
    assert wrong.returncode == 2
    assert "Traceback" not in wrong.stderr


def test_an_existing_identity_survives_a_refused_replacement(
    plain: Gateway, tmp_path: Path
) -> None:
    """--force gives the old one up only when the new one is there."""
    home = Home(tmp_path / "data")
    assert _agent("join", plain.line(), home=home).returncode == 0
    identity = Identity.load(home)
    plain.problem(410, "expired", "too late")
    assert _agent("join", plain.line(), "--force", home=home).returncode == 1
    assert Identity.load(home) == identity


def test_leaving_gives_everything_up(plain: Gateway, tmp_path: Path) -> None:
    """And says what is left to do on the server."""
    home = Home(tmp_path / "data")
    assert _agent("leave", "--yes", home=home).returncode == 1
    assert _agent("join", plain.line(), home=home).returncode == 0
    (home.jobs / "01").mkdir()
    assert _agent("leave", home=home).returncode == 1  # nobody there to be asked
    done = _agent("leave", "--yes", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"muster node revoke {NODE}" in done.stdout
    assert not home.identity.exists()
    assert not home.jobs.exists()
    assert "no agent has joined" in _agent("run", home=home).stderr


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    """Its content, which is secret, is not shown."""
    home = Home(tmp_path / "data")
    home.make()
    home.write(home.identity, '{"node": "SUSECRET"}')
    done = _agent("status", home=home)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "SUSECRET" not in done.stderr


def test_a_directory_that_cannot_be_written_is_named(plain: Gateway, tmp_path: Path) -> None:
    """Before the token is burnt."""
    file = tmp_path / "file"
    file.touch()
    done = _agent("join", plain.line(), home=Home(file / "data"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert plain.asked == []
    assert os.access(file, os.R_OK)


def test_an_answer_that_does_not_fit_replaces_nothing(broker: Broker, tmp_path: Path) -> None:
    """Whoever can answer in the server's place must not be able to lock a node out for ever."""
    home = Home(tmp_path / "agent")
    home.make()
    key = stage.join(broker, home, NODE)
    mine = Identity.load(home)
    soon = datetime.now(UTC) + timedelta(days=30)
    other = broker.world.mint_node("n" + "b" * 16, Key.generate("U").public, soon)
    foreign = natsjwt.encode("user", key.public, NODE, {}, Key.generate("A"))
    for jwt in ("garbage", other, foreign):
        fresh = mine.renewed(Renewed(jwt=jwt, authority_keys=[], epoch=2**40))
        assert (fresh.jwt, fresh.epoch) == (mine.jwt, mine.epoch)
    good = broker.world.mint_node(NODE, key.public, soon)
    assert mine.renewed(Renewed(jwt=good, authority_keys=[], epoch=1)).jwt == good
