"""The connections that ExaBGP opens, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from exabgp.environment import getenv
from exabgp.logger import log
from exabgp.protocol.family import AFI
from exabgp.reactor.network import outgoing

from bgpd.overlay import send_at_once


@pytest.fixture(params=[("127.0.0.1", AFI.ipv4), ("::1", AFI.ipv6)], ids=["IPv4", "IPv6"])
def opened(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[outgoing.Outgoing]:
    """What is to be connected to a listener; what is put right in ExaBGP is undone after the test."""
    log.init(getenv())
    address, family = request.param
    monkeypatch.setattr(outgoing, "create", outgoing.create)
    kind = socket.AF_INET6 if family == AFI.ipv6 else socket.AF_INET
    with socket.create_server((address, 0), family=kind) as server:
        made = outgoing.Outgoing(family, address, address, port=server.getsockname()[1])
        yield made
        made.close()


def connected(made: outgoing.Outgoing) -> socket.socket:
    assert any(made.establish())
    found: socket.socket = made.io
    return found


def test_messages_do_not_wait_for_each_other(opened: outgoing.Outgoing) -> None:
    send_at_once()
    assert connected(opened).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_control_exabgp_as_it_comes_lets_them_wait(opened: outgoing.Outgoing) -> None:
    assert not connected(opened).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
