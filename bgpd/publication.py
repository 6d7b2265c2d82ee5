"""What the speaker says of itself to whoever asks: everything, or what is new since he was told.

Nobody who asks is remembered. Every change that was found gets a number, and who asks names the one up to which he has
it; what is new follows from the number that each thing changed with. So it costs what has changed, and with nothing
changed as much as there are peers.

A number that is of another process, or of a time of which not everything is known any more, is answered with
everything.
"""

from __future__ import annotations

import secrets
from itertools import islice

import msgspec

from announcer.model.bgp import PeerObserved
from announcer.model.net import IPNetwork
from announcer.model.observed import BgpObserved
from bgpd.core import Core
from bgpd.messages import News, Observe, Observed, PeerNews, Seen
from bgpd.peer import Peer
from bgpd.secrecy import hide_in_peer

#: So many changes of a peer are known, and twice as many as it has entries. Who missed more is told everything.
KNOWN_CHANGES = 10_000


class Publication:
    """Of one speaker process. The only one to call ``AdjRibOut.changed``."""

    def __init__(self, core: Core) -> None:
        """Nothing was said yet."""
        self._core = core
        self._speaker = secrets.token_hex(8)
        self._number = 0
        self._outline = BgpObserved()
        self._outline_at = 0
        self._names_at = 0
        self._peers: dict[str, _Said] = {}

    def answer(self, request: Observe) -> Observed | News:
        """What there is to say now."""
        self._take_stock()
        seen, since = Seen(self._speaker, self._number), request.since
        if since is None or since.speaker != self._speaker or since.number > self._number:
            return Observed(request.id, self._everything(), seen)
        peers = {name: said.since(since.number) for name, said in self._peers.items()}
        return News(
            request.id,
            seen,
            outline=self._outline if self._outline_at > since.number else None,
            names=list(peers) if self._names_at > since.number else None,
            peers={name: news for name, news in peers.items() if news is not None},
        )

    def _everything(self) -> BgpObserved:
        peers = {name: said.everything() for name, said in self._peers.items()}
        return msgspec.structs.replace(self._outline, peers=peers)

    def _take_stock(self) -> None:
        """Give the next number to whatever is not as it was."""
        number = self._number + 1
        outline = self._core.outline()
        if outline != self._outline:
            self._outline, self._outline_at = outline, number
        before, self._peers = self._peers, {}
        for name, peer in self._core.peers.items():
            said = before.get(name)
            if said is None or said.peer is not peer:
                self._peers[name] = _Said(peer, number)
            else:
                self._peers[name] = said
                said.take_stock(number)
        if before.keys() != self._peers.keys():
            self._names_at = number
        changed = [said.changed_at for said in self._peers.values()]
        self._number = max(self._number, self._outline_at, self._names_at, *changed)


class _Said:
    """What was said of one peer. ``known_since``: who was told nothing later is told everything."""

    def __init__(self, peer: Peer, number: int) -> None:
        self.peer = peer
        self.known_since = self.changed_at = self._outline_at = number
        self._outline = hide_in_peer(peer.outline())
        peer.rib.changed()  # all that it would say is in the entries
        self._rib = peer.rib.entries()
        self._changes: dict[IPNetwork, int] = {}  # the number of each prefix's last change, the latest at the end

    def take_stock(self, number: int) -> None:
        """Give ``number`` to whatever is not as it was."""
        outline = hide_in_peer(self.peer.outline())
        if outline != self._outline:
            self._outline, self._outline_at = outline, number
            self.changed_at = number
        for nlri, entry in self.peer.rib.changed().items():
            if entry == self._rib.get(nlri):
                continue
            if entry is None:
                del self._rib[nlri]
            else:
                self._rib[nlri] = entry
            self._changes.pop(nlri, None)
            self._changes[nlri] = self.changed_at = number
        self._forget()

    def _forget(self) -> None:
        """What is gone would be known for ever otherwise."""
        excess = len(self._changes) - max(KNOWN_CHANGES, 2 * len(self._rib))
        if excess > 0:
            for nlri in list(islice(self._changes, excess)):
                self.known_since = self._changes.pop(nlri)

    def everything(self) -> PeerObserved:
        return msgspec.structs.replace(self._outline, rib=self._rib)

    def since(self, number: int) -> PeerNews | None:
        """What is new since ``number``, None if nothing is."""
        if number >= self.changed_at:
            return None
        if number < self.known_since:
            return PeerNews(self._outline, whole=True, rib=self._rib)
        news = PeerNews(self._outline if self._outline_at > number else None)
        for nlri, at in reversed(self._changes.items()):
            if at <= number:
                break
            if (entry := self._rib.get(nlri)) is not None:
                news.rib[nlri] = entry
            else:
                news.gone.append(nlri)
        return news
