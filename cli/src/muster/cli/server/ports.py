"""Free ports: the usual one if it can be had, another one unless one was asked for."""

import ipaddress
import socket

from muster.contracts.errors import Conflict


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach *host*."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_free(host: str, port: int) -> bool:
    """Whether *port* can be listened on."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def choose(host: str, asked: int, remembered: int, usual: int, what: str) -> int:
    """Return the port for *what*: the one asked for, or the last one, or the usual, or any."""
    if asked:
        if is_free(host, asked):
            return asked
        raise Conflict(f"port {asked} for {what} is taken: stop what uses it, or ask for another")
    for port in (remembered, usual):
        if port and is_free(host, port):
            return port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
