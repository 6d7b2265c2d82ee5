"""The commands that the speaker gives to ExaBGP's API, and their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from announcer.model.bgp import Route
from announcer.model.net import Family, IPAddress, IPNetwork

BATCH_PREFIXES = 100


class Batch(msgspec.Struct, frozen=True):
    """Routes of one family with equal attributes for one peer, in one line.

    Withdrawals name the attributes of what they withdraw. The engine queues what it has yet to send by attributes: a
    withdrawal with the attributes of the announcement takes its place in the queue; with others it could be overtaken
    by it. ``internal`` False (eBGP): LOCAL_PREF is not sent. ``local_asn`` is what a longer AS_PATH is made of.
    """

    peer: IPAddress
    withdraw: bool
    route: Route
    next_hop: IPAddress
    prefixes: tuple[IPNetwork, ...]
    session: int
    internal: bool
    local_asn: int

    barrier = False

    def line(self) -> bytes:
        """The command as the engine reads it."""
        words = [f"neighbor {self.peer}", "withdraw" if self.withdraw else "announce"]
        words.append(f"attributes next-hop {self.next_hop} origin {self.route.origin}")
        words += self._attributes()
        words.append("nlri " + " ".join(map(str, self.prefixes)))
        return " ".join(words).encode() + b"\n"

    def _attributes(self) -> Iterator[str]:
        """The optional ones. An AS_PATH that is given replaces the engine's own, so the usual once is in it (eBGP)."""
        route = self.route
        if route.prepend and not self.internal:
            yield _bracketed("as-path", [str(self.local_asn)] * (1 + route.prepend))
        if route.med is not None:
            yield f"med {route.med}"
        if self.internal and route.local_pref is not None:
            yield f"local-preference {route.local_pref}"
        if route.communities:
            yield _bracketed("community", [f"{high}:{low}" for high, low in route.communities])
        if route.large_communities:
            yield _bracketed("large-community", [":".join(map(str, parts)) for parts in route.large_communities])


def _bracketed(name: str, values: Iterable[str]) -> str:
    return f"{name} [ {' '.join(values)} ]"


class EndOfRibCommand(msgspec.Struct, frozen=True):
    """End-of-RIB for one family to one peer."""

    peer: IPAddress
    family: Family
    session: int

    barrier = True

    def line(self) -> bytes:
        """The command as the engine reads it."""
        return f"neighbor {self.peer} announce eor {self.family} unicast\n".encode()


class Teardown(msgspec.Struct, frozen=True):
    """Ends the session with a peer because BFD says that it is gone (Cease, subcode 10: RFC 9384)."""

    peer: IPAddress

    barrier = True

    def line(self) -> bytes:
        """The command as the engine reads it."""
        return f"neighbor {self.peer} teardown 10\n".encode()


class Ping(msgspec.Struct, frozen=True):
    """A comment: the engine answers it and does nothing, so the answer says that it is alive."""

    barrier = True

    def line(self) -> bytes:
        """The command as the engine reads it."""
        return b"#\n"


Command = Batch | EndOfRibCommand | Teardown | Ping
