"""What the originals did differently with ``peers``. No value of a peer is quoted: one of them is the password."""

from __future__ import annotations

import ipaddress

from announcer.config.originals.dialects import Dialect, unknown_key
from announcer.config.originals.notes import Here, Notes
from announcer.yamltree import YamlMap, plain_value

#: What each key of version 0.12 meant in the mode that was the default there.
_NATIVE_MODE = {
    "keepalive-time": "took it in FRR mode only; its native mode refused the file",
    "bfd-profile": "took it in FRR mode only; its native mode refused the file",
    "ebgp-multihop": "ignored it in its native mode, which was always multihop; only FRR mode obeyed",
}


def inspect_peers(root: Here, dialect: Dialect, notes: Notes) -> None:
    """Remarks about the peers."""
    peers = [peer for peer in root.items("peers") if isinstance(peer.node, YamlMap)]
    if not peers:
        return
    native = "in its native mode " if dialect.minor >= 12 else ""
    notes.add(
        root.get("peers") or root,
        f"{dialect} {native}did not enforce the hold time: a dead peer was only noticed by TCP; Lockstep does",
    )
    for peer in peers:
        if notes.full:
            return
        _keys(peer, dialect, notes)
        _password(peer, dialect, notes)
        _distance(peer, dialect, notes)
        _router_id(peer, dialect, notes)
        _families(peer, dialect, notes)
    _duplicates(peers, dialect, notes)
    if dialect.minor >= 12:
        _frr_mode(peers, dialect, notes)


def _keys(peer: Here, dialect: Dialect, notes: Notes) -> None:
    for key in peer.each_key():
        notes.add(key, unknown_key(dialect, "peer", key.text()))
        if dialect.minor >= 12 and key.text() in _NATIVE_MODE:
            notes.add(key, f"{dialect} {_NATIVE_MODE[key.text()]}")


def _password(peer: Here, dialect: Dialect, notes: Notes) -> None:
    at = peer.get("password")
    if at is not None:
        text = "took any text of up to 80 bytes, in clear text in the ConfigMap as here; password-secret keeps it out"
        notes.add(at, f"{dialect} {text}")


def _distance(peer: Here, dialect: Dialect, notes: Notes) -> None:
    peer_asn, my_asn = peer.text("peer-asn"), peer.text("my-asn")
    if not peer_asn or not my_asn or peer_asn == my_asn or peer.true("ebgp-multihop"):
        return
    native = " in its native mode" if dialect.minor >= 12 else ""
    ours = "Lockstep expects this eBGP peer one hop away, with TTL 255 (GTSM)"
    key = '"ebgp-multihop: true" restores it, "ttl-security: false" only does without GTSM'
    if peer.text("ttl-security").lower() in ("false", "no", "off", "n"):
        ours, key = "Lockstep expects this eBGP peer one hop away", '"ebgp-multihop: true" restores it'
    notes.add(peer.without("ebgp-multihop"), f"{dialect} was always multihop{native}; {ours}; {key}")


def _router_id(peer: Here, dialect: Dialect, notes: Notes) -> None:
    at = peer.get("router-id")
    if at is not None and ":" in at.text():
        notes.add(at, f"{dialect} took an IPv6 address silently and then used the default router ID")


def _families(peer: Here, dialect: Dialect, notes: Notes) -> None:
    """The native speaker wrote IPv4 routes to every peer, and over IPv6 with a next hop of 16 bytes in a field of 4."""
    at = peer.get("peer-address")
    if at is None or ":" not in at.text() or peer.get("families") is not None:
        return
    native = " in its native mode" if dialect.minor >= 12 else ""
    ours = 'Lockstep sends it IPv6 routes; "families: [ipv4, ipv6]" adds IPv4'
    notes.add(at, f"{dialect}{native} sent this IPv6 peer IPv4 routes that it could not read; {ours}")


def _duplicates(peers: list[Here], dialect: Dialect, notes: Notes) -> None:
    """Exact duplicates were refused from MetalLB 0.10 on and by Cilium, any other two went unnoticed."""
    refuses = dialect.cilium or dialect.minor >= 10
    first: dict[str, Here] = {}
    for peer in peers:
        port = peer.text("peer-port")
        session = f"{_canonical(peer.text('peer-address'))} {179 if port in ('', '0') else port}"
        key = f"{session} {_plain(peer, 'node-selectors')}"
        before = first.setdefault(key, peer)
        if before is peer or not peer.text("peer-address"):
            continue
        if refuses and plain_value(before.node) == plain_value(peer.node):
            continue
        notes.add(peer, f"{dialect} took it without a word and ran two sessions with one peer")


def _frr_mode(peers: list[Here], dialect: Dialect, notes: Notes) -> None:
    for key in ("my-asn", "router-id"):
        for peer in peers[1:]:
            if peer.text(key) != peers[0].text(key):
                notes.add(peer.get(key) or peer, f"{dialect} in FRR mode refused peers that differ in {key}")
    seen: set[str] = set()
    for peer in peers:
        address = _canonical(peer.text("peer-address"))
        if address and address in seen:
            notes.add(peer, f"{dialect} in FRR mode refused two peers with one peer-address")
        seen.add(address)


def _canonical(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return word


def _plain(peer: Here, key: str) -> str:
    below = peer.get(key)
    return repr(plain_value(below.node)) if below is not None else ""
