"""The names of peers: how each is called everywhere, and what ``peers`` of an advertisement may say for one."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from announcer.config.scalars import text
from announcer.config.types import PeerConfig
from announcer.config.walk import WrongValue
from announcer.yamltree import Node, shown


def name_peers(peers: Sequence[PeerConfig]) -> tuple[PeerConfig, ...]:
    """The peers with the shortest names that tell them apart.

    The address alone names a peer almost always. Where one address has several ports or AS numbers (a router that
    serves racks with different ones), they are added; the number of the entry is the last resort.
    """
    forms: tuple[Callable[[PeerConfig], str], ...] = (
        lambda peer: str(peer.address),
        with_port,
        lambda peer: f"{peer.address}#{peer.peer_asn}",
        lambda peer: f"{with_port(peer)}#{peer.peer_asn}",
        lambda peer: f"{with_port(peer)}#{peer.peer_asn}-{peer.my_asn}",
    )
    counts = [Counter(map(form, peers)) for form in forms]
    named = []
    for index, peer in enumerate(peers):
        unique = (form(peer) for form, count in zip(forms, counts, strict=True) if count[form(peer)] == 1)
        name = next(unique, f"{forms[-1](peer)}-{index}")
        named.append(msgspec.structs.replace(peer, name=name))
    return tuple(named)


def with_port(peer: PeerConfig) -> str:
    """Address and port, as they are written in one word."""
    return f"[{peer.address}]:{peer.port}" if peer.address.version == 6 else f"{peer.address}:{peer.port}"


class PeerNames:
    """What a word in ``peers`` of an advertisement stands for.

    ``complete`` False: a peer of the file is wrong, so its name is not known and a word without a peer may be it.
    """

    def __init__(self, peers: Sequence[PeerConfig], *, complete: bool = True) -> None:
        self._complete = complete
        at: dict[str, list[str]] = {}
        for peer in peers:
            at.setdefault(str(peer.address), []).append(peer.name)
        self._names = {address: tuple(names) for address, names in at.items()}
        self._names |= {peer.name: (peer.name,) for peer in peers}

    def read(self, node: Node) -> tuple[str, ...]:
        """The names of the peers that a name or an address stands for; an address stands for all that have it."""
        word = text(node)
        found = self._names.get(word) or self._names.get(_canonical(word))
        if found is not None:
            return found
        if not self._complete:
            return (word,)
        known = ", ".join(list(self._names)[:8]) or "none"
        raise WrongValue(f'"{shown(word)}" is not a peer of this file', f"its peers: {known}")


def _canonical(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return word
