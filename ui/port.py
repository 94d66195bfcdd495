"""The port of the page: whether it can be used."""

from __future__ import annotations

import socket

from retrieval.records import ShopError


def check_port(host: str, port: int) -> None:
    """Make sure that the page can listen there.

    Raises:
        ShopError: when it cannot, saying why and what to do.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise ShopError(f"No address {host} on this machine. Set SHOPTALK_HOST=127.0.0.1") from error
    except OSError as error:
        raise ShopError(
            f"Port {port} on {host} cannot be used: {error.strerror or error}. "
            f"Close the other program, or choose another port: SHOPTALK_PORT={port + 1 if port < 65535 else port - 1} (or --port)"
        ) from error
