"""`muster-agent`: join, run, helper, status, leave, install, doctor.

Exit codes: 0 done; 1 it could not be done; 2 the command line or the token is wrong.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from muster.agent.program import program

OK: Final = 0
FAILED: Final = 1
WRONG: Final = 2
_USERS: Final = "as whom commands may run here; the first runs what names nobody (root needs this)"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    top = argparse.ArgumentParser(
        prog=program(),
        description="The agent of a host: it obeys signed commands and tells how the host is.",
    )
    top.add_argument("--version", action="store_true", help="show the version and exit")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="the agent's directory (default: MUSTER_AGENT_DATA_DIR, or /var/lib/muster-agent "
        "for root, or ~/.local/state/muster-agent)",
    )
    joining = commands.add_parser("join", parents=[common], help="make this host a node")
    joining.add_argument(
        "token", nargs="?", default="", help="the line that `muster node token` shows; - reads it"
    )
    joining.add_argument("--name", default="", help="the host name to tell (default: its own)")
    joining.add_argument("--server", default="", metavar="URL", help="the way to the gateway")
    joining.add_argument("--cert", type=Path, metavar="PEM", help="join by this certificate")
    joining.add_argument("--key", type=Path, metavar="PEM", help="the key of the certificate")
    joining.add_argument("--ca", type=Path, metavar="PEM", help="the CA of the gateway")
    joining.add_argument("--fingerprint", default="", help="or its SHA-256, as `muster status` has")
    joining.add_argument("--monitor-only", action="store_true", help="never run commands here")
    joining.add_argument("--users", default="", metavar="USER,…", help=_USERS)
    joining.add_argument("--force", action="store_true", help="replace an earlier identity")
    running = commands.add_parser("run", parents=[common], help="be the agent, until told to end")
    running.add_argument(
        "--helper", type=Path, metavar="DIR", help="let the helper of this directory run commands"
    )
    commands.add_parser("helper", parents=[common], help="be the privileged helper of an agent")
    commands.add_parser("status", parents=[common], help="show who this node is and how it is")
    leaving = commands.add_parser("leave", parents=[common], help="give up this node's identity")
    leaving.add_argument("--yes", action="store_true", help="do not ask")
    installing = commands.add_parser("install", parents=[common], help="keep it running (systemd)")
    installing.add_argument(
        "--user", default="", help="run all of it as this user (default for root: in two parts)"
    )
    installing.add_argument("--users", default="", metavar="USER,…", help=_USERS)
    installing.add_argument("--monitor-only", action="store_true", help="never run commands here")
    installing.add_argument("--print", action="store_true", help="only show the units")
    commands.add_parser("doctor", parents=[common], help="check what an agent needs")
    return top


def main() -> int:
    """Do what the command line says and return the exit code."""
    given = parser().parse_args()
    if given.version:
        from importlib.metadata import version  # noqa: PLC0415  # --version needs nothing else

        sys.stdout.write(f"muster-agent {version('muster-agent')}\n")
        return OK
    if given.command is None:
        parser().print_help()
        return WRONG
    os.umask(0o077)
    from muster.agent import commands  # noqa: PLC0415  # heavy imports only when needed

    return commands.execute(given)


if __name__ == "__main__":
    sys.exit(main())
