"""``with Blast(lab.client, VIP) as blast:`` sends while something is done to the nodes; ``stop`` says what was lost."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from tests.lab.companion import Companion
from tests.lab.host import Host
from tests.lab.poll import until

_PROGRAM = Path(__file__).with_name("blast.py")


class Blasted(msgspec.Struct, frozen=True):
    """Datagrams sent and lost; connections held and broken."""

    sent: int
    lost: int
    connections: int
    broken: int


class Blast(Companion[Blasted]):
    """1,000 datagrams a second and 200 connections, unless told otherwise. All connections stand once it is entered.

    It answers :meth:`look`; what is then on its way counts as lost.
    """

    def __init__(self, host: Host, vip: str, *, rate: int = 1000, connections: int = 200) -> None:
        """``rate`` per second."""
        options = ["--udp-port=53", "--tcp-port=80", f"--rate={rate}", f"--connections={connections}"]
        super().__init__(host, [sys.executable, "-I", "-S", _PROGRAM, vip, *options], "started", Blasted)

    def await_every_connection(self) -> None:
        """Wait until each connection has asked for something: each does once while 1,000 datagrams are sent."""
        before = self.look().sent
        until(lambda: self.look().sent > before + 1000, "every connection has spoken", 30)
