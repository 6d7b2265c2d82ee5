"""What a client was told by one speaker over one connection, put together. Pure.

What is the same as before is the same object, all of it, a peer, a ``rib``, an entry: whoever compares by ``is`` knows
what to look at. Nothing is changed in place, so whoever has an earlier answer keeps it as it was.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from announcer.model.bgp import Neighbor, PeerObserved, RibEntry
from announcer.model.changes import Derived
from announcer.model.errors import BugError
from announcer.model.net import IPNetwork
from announcer.model.observed import BgpObserved
from bgpd.messages import News, Observed, PeerNews, Seen
from bgpd.secrecy import restore


class Heard:
    """``seen``: what to ask for news since, None before anything was told."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.seen: Seen | None = None
        self._told = BgpObserved()
        self._with: Mapping[str, Neighbor] | None = None  # ``_observed`` is of this, and of ``_told``
        self._observed = BgpObserved()
        self._restored: dict[str, tuple[PeerObserved, PeerObserved]] = {}  # as told, and with its password

    def take(self, reply: Observed | News) -> None:
        """Take in an answer to the question for what is new since ``seen``."""
        self.seen = reply.seen
        before = self._told
        if isinstance(reply, Observed):
            self._told = reply.observed
        elif reply.outline is not None or reply.names is not None or reply.peers:
            names = before.peers if reply.names is None else reply.names
            peers = {name: _peer(before.peers.get(name), reply.peers.get(name)) for name in names}
            self._told = msgspec.structs.replace(reply.outline or before, peers=peers)
        if self._told is not before:
            self._with = None

    def observed(self, configured: Mapping[str, Neighbor]) -> BgpObserved:
        """Everything, with the passwords of ``configured`` (``bgpd.secrecy``), which is not changed in place."""
        if self._with is not configured:
            self._with = configured
            self._restored = {
                name: (told, self._restore(name, told, configured.get(name))) for name, told in self._told.peers.items()
            }
            peers = {name: restored for name, (_, restored) in self._restored.items()}
            found = msgspec.structs.replace(self._told, peers=peers)
            if found != self._observed:
                self._observed = found
        return self._observed

    def _restore(self, name: str, told: PeerObserved, configured: Neighbor | None) -> PeerObserved:
        now = restore(told, configured)
        before, restored = self._restored.get(name, (None, now))
        return restored if before is told and restored.neighbor == now.neighbor else now


def _peer(before: PeerObserved | None, news: PeerNews | None) -> PeerObserved:
    """``before`` with the ``news``. Raises BugError if there is neither: the speaker named a peer and said nothing."""
    if news is None:
        if before is None:
            raise BugError("the speaker names a peer of which it never said anything")
        return before
    outline = news.outline or before
    if outline is None:
        raise BugError("the speaker says nothing of a new peer but its routes")
    made = msgspec.structs.replace(outline, rib=_rib({} if before is None else before.rib, news))
    return before if before is not None and made == before else made


def _rib(before: dict[IPNetwork, RibEntry], news: PeerNews) -> dict[IPNetwork, RibEntry]:
    if news.whole:
        known = ((nlri, entry, before.get(nlri)) for nlri, entry in news.rib.items())
        rib = {nlri: entry if entry != earlier or earlier is None else earlier for nlri, entry, earlier in known}
        return before if rib == before else rib
    if not news.rib and not news.gone:
        return before
    rib = Derived(before)
    rib.update(news.rib)
    for nlri in news.gone:
        if nlri in rib:
            del rib[nlri]
    return rib
