"""Which peers of the bgp-config this node talks to, and with which password."""

from __future__ import annotations

from collections.abc import Mapping

from announcer.config.sessions import password_fault
from announcer.config.types import Config, PeerConfig
from announcer.model.bgp import Neighbor, Password
from announcer.model.desired import PeerRefusal, Reason
from announcer.model.net import IPAddress
from announcer.model.objects import ObjectKey, Secret
from announcer.snapshot import Snapshot


def select_neighbors(snapshot: Snapshot, config: Config) -> tuple[tuple[Neighbor, ...], tuple[PeerRefusal, ...]]:
    """The neighbors of this node in order of name, and the peers that it must not talk to.

    A list of selectors is an OR, one selector an AND; no list selects every node. A node that no source knows has no
    labels, so only peers without selectors apply to it. A peer whose password cannot be had is never tried without. Of
    peers with one address (two ports, or two AS numbers of one router) a node runs the first by name: the engine knows
    a session by the address of its peer alone.
    """
    labels = snapshot.node.labels if snapshot.node is not None else {}
    chosen: list[Neighbor] = []
    refused: list[PeerRefusal] = []
    taken: dict[IPAddress, str] = {}
    for peer in sorted(config.peers, key=lambda peer: peer.name):
        if not peer.selects(labels):
            detail = "its node-selectors do not select this node"
            refused.append(PeerRefusal(peer=peer.name, reason=Reason.NOT_SELECTED_FOR_PEER, detail=detail))
            continue
        first = taken.setdefault(peer.address, peer.name)
        if first != peer.name:
            detail = f"the peer {first} has the same address, and a node can have one session with an address"
            refused.append(PeerRefusal(peer=peer.name, reason=Reason.PEER_ADDRESS_TAKEN, detail=detail))
            continue
        password = _password(peer, snapshot.config.namespace, snapshot.secrets)
        if isinstance(password, str):
            refused.append(PeerRefusal(peer=peer.name, reason=Reason.SECRET_MISSING, detail=password))
        else:
            chosen.append(_neighbor(peer, password))
    return tuple(chosen), tuple(refused)


def _password(peer: PeerConfig, namespace: str, secrets: Mapping[ObjectKey, Secret]) -> Password | str | None:
    """The password of a peer, None if it has none; a text that says why it cannot be had."""
    wanted = peer.password_secret
    if wanted is None:
        return peer.password
    key = ObjectKey(namespace, wanted.name)
    secret = secrets.get(key)
    if secret is None:
        return f"there is no Secret {key}"
    value = secret.data.get(wanted.key)
    if not value:
        return f"the Secret {key} has no value under the key {wanted.key}"
    text = value.decode("utf-8", "replace")
    fault = password_fault(text)
    if fault:
        return f"the value of the key {wanted.key} of the Secret {key} {fault}"
    return Password(text)


def _neighbor(peer: PeerConfig, password: Password | None) -> Neighbor:
    return Neighbor(
        name=peer.name,
        address=peer.address,
        port=peer.port,
        peer_asn=peer.peer_asn,
        local_asn=peer.my_asn,
        hold_time=peer.hold_time,
        router_id=peer.router_id,
        local_address=peer.source_address,
        graceful_restart=peer.graceful_restart,
        password=password,
        multihop=peer.multihop,
        ttl_security=_ttl_security(peer),
        passive=peer.passive,
        families=peer.families,
        bfd=peer.bfd,
    )


def _ttl_security(peer: PeerConfig) -> bool:
    """On by default where the peer is one hop away by the rules of eBGP: then no one further away can disturb it."""
    if peer.ttl_security is not None:
        return peer.ttl_security
    return not peer.internal and not peer.multihop
