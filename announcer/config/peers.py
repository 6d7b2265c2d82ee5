"""``peers``: the neighbors, and peers that stand there twice."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from announcer.config.bfd import BfdProfiles, read_bfd_profile
from announcer.config.names import PeerNames, name_peers, with_port
from announcer.config.scalars import address, asn, router_id, whole
from announcer.config.selectors import node_selectors
from announcer.config.sessions import read_session
from announcer.config.types import PeerConfig
from announcer.config.walk import At, Fields, Keys
from announcer.yamltree import YamlList, is_null

KEYS = Keys(
    served=(
        "peer-address",
        "peer-asn",
        "my-asn",
        "peer-port",
        "connect-port",
        "hold-time",
        "keepalive-time",
        "router-id",
        "source-address",
        "password",
        "password-secret",
        "ebgp-multihop",
        "ttl-security",
        "passive",
        "graceful-restart",
        "families",
        "bfd-profile",
        "node-selectors",
    ),
)


def read_peers(at: At | None, profiles: BfdProfiles) -> tuple[tuple[PeerConfig, ...], PeerNames]:
    """The peers, named, and what they are called; those that are wrong are recorded and left out."""
    if at is None:
        return (), PeerNames(())
    read = [(item, _peer(item, profiles)) for item in at.items("peers")]
    found = [(item, peer) for item, peer in read if peer is not None]
    _refuse_duplicates(found)
    complete = len(found) == len(read) and (isinstance(at.node, YamlList) or is_null(at.node))
    named = name_peers([peer for _, peer in found])
    return named, PeerNames(named, complete=complete)


def _peer(at: At, profiles: BfdProfiles) -> PeerConfig | None:
    fields = at.fields(KEYS)
    if fields is None:
        return None
    where = fields.need("peer-address", address, "10.0.0.1")
    peer_asn = fields.need("peer-asn", asn, "64512")
    my_asn = fields.need("my-asn", asn, "64512")
    port = _port(fields)
    identifier = fields.read("router-id", router_id, None)
    options = read_session(fields, where, internal=peer_asn == my_asn if peer_asn and my_asn else None)
    selectors = node_selectors(fields.at("node-selectors"))
    bfd = read_bfd_profile(fields.at("bfd-profile"), profiles)
    if where is None or peer_asn is None or my_asn is None:
        return None
    return PeerConfig(
        name="",
        address=where,
        peer_asn=peer_asn,
        my_asn=my_asn,
        port=port,
        router_id=identifier,
        node_selectors=selectors,
        bfd=bfd,
        **msgspec.structs.asdict(options),
    )


def _port(fields: Fields) -> int:
    """The port that is connected to. ``connect-port`` is another name of ``peer-port``, where 0 means 179."""
    named = fields.read("peer-port", whole(0, 65535, 179), 0)
    port = fields.read("connect-port", whole(1, 65535, 179), 0)
    first, second = fields.at("peer-port"), fields.at("connect-port")
    if first is not None and second is not None and named and port and named != port:
        problem = f'{port} contradicts "peer-port" in line {first.node.line}: both are the port that is connected to'
        second.wrong(problem, "remove one of the two")
    return port or named or 179


def _refuse_duplicates(found: Sequence[tuple[At, PeerConfig]]) -> None:
    """A node has one session with one address and port, so no two entries may mean the same nodes."""
    seen: dict[bytes, At] = {}
    for at, peer in found:
        selectors = sorted(msgspec.json.encode(selector, order="deterministic") for selector in peer.node_selectors)
        key = f"{peer.address} {peer.port} ".encode() + b" ".join(selectors)
        first = seen.setdefault(key, at)
        if first is not at:
            where = f"peers[{first.path[-1]}], line {first.node.line}"
            at.wrong(
                f"{with_port(peer)} is already a peer of the same nodes: {where}",
                "remove one of the two, or give them node-selectors that differ",
            )
