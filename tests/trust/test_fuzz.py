"""The OpenAPI document is true: what schemathesis makes of it meets no error of the server."""

import subprocess
import sys

import pytest

from tests.system.conftest import ENV, Server

NOT_OURS = (
    "ignored_auth",  # adds a worthless cookie to a good bearer token, and calls that no login
    "negative_data_rejection",  # a time may also be a number of seconds
    "positive_data_acceptance",  # some rules are beyond a schema: one of two, a start before an end
)
ENDS = ("logout", "revokeCredential")
"""They would end what the rest is asked with."""


@pytest.mark.timeout(240)
def test_the_api_keeps_what_its_document_says(server: Server) -> None:
    """All checks: no 5xx, documented statuses, types and bodies, refused methods and headers."""
    agent = server.join("web1")
    server.over(server.run(["true"], "web1"))
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/api/v1/openapi.json",
            "-H", f"Authorization: Bearer {server.token}",
            "--checks", "all", "--exclude-checks", ",".join(NOT_OURS),
            *(word for name in ENDS for word in ("--exclude-operation-id", name)),
            "--max-examples", "20", "--seed", "1", "--warnings", "off", "--no-color",
            "--generation-database", "none",
        ],
        env=ENV, cwd=server.data_dir.parent, capture_output=True, text=True, check=False,
        timeout=220,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    log = (server.data_dir / "logs" / "gateway.log").read_text()
    assert " status=5" not in log
    assert agent.process
    assert agent.process.poll() is None
