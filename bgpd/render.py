"""ExaBGP's configuration and environment from neighbors. Pure: the same neighbors always give the same text.

No route is in it: ExaBGP 5.0 does not withdraw a static route that a reload removed, so routes go through its API only.
Every value is an address, a number, a checked path or a checked password, so nothing that an operator wrote can end a
statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from announcer.model.bgp import Neighbor
from bgpd.families import offered, takes_ipv6_next_hop
from bgpd.problems import neighbor_problems

_SAFE_PATH = re.compile(r"/[A-Za-z0-9_.+@=/-]+")

_GTSM_TTL = 255
#: One hop is all that an eBGP session has unless it is said to have more, and a packet that strays ends there.
_DIRECT_TTL = 1
#: What hosts usually send with. Said outright, so that net.ipv4.ip_default_ttl does not matter.
_ANY_DISTANCE_TTL = 64

_NEIGHBOR = """\
neighbor {address} {{
    local-address {local_address};
    router-id {router_id};
    local-as {local_asn};
    peer-as {peer_asn};
    hold-time {hold_time};
    connect {port};
    outgoing-ttl {ttl};
{options}    manual-eor true;
    adj-rib-in false;
    adj-rib-out false;
    group-updates true;
    family {{
{families}    }}
{next_hop_families}    capability {{
        asn4 enable;
        extended-message disable;
        route-refresh disable;
        nexthop {next_hop};
        graceful-restart {graceful_restart};
    }}
    api {{
        processes [ relay ];
        neighbor-changes;
        fsm;
        send {{ packets; open; update; notification; keepalive; }}
        receive {{ packets; open; notification; }}
    }}
}}
"""


_NEXT_HOP_FAMILIES = """\
    nexthop {
        ipv4 unicast ipv6;
    }
"""


def render(neighbors: Iterable[Neighbor], *, python: Path, relay: Path, relay_socket: Path) -> str:
    """The configuration for ``neighbors``, each of which must have a ``router_id``, in the order of their names.

    Raises ValueError for a path that cannot stand in it, and for neighbors that ``neighbor_problems`` objects to.
    """
    chosen = sorted(neighbors, key=lambda neighbor: neighbor.name)
    problems = neighbor_problems(chosen)
    if problems:
        raise ValueError("; ".join(str(problem) for problem in problems))
    command = " ".join(_path(path) for path in (python, relay, relay_socket))
    return f"process relay {{\n    run {command};\n    encoder json;\n}}\n" + "".join(map(_neighbor, chosen))


def _neighbor(neighbor: Neighbor) -> str:
    if neighbor.router_id is None:
        raise ValueError(f"neighbor {neighbor.name} has no router id")
    return _NEIGHBOR.format(
        address=neighbor.address,
        local_address=neighbor.local_address or "auto",
        router_id=neighbor.router_id,
        local_asn=int(neighbor.local_asn),
        peer_asn=int(neighbor.peer_asn),
        hold_time=int(neighbor.hold_time),
        port=int(neighbor.port),
        ttl=_sending_ttl(neighbor),
        families="".join(f"        {family} unicast;\n" for family in offered(neighbor)),
        next_hop="enable" if takes_ipv6_next_hop(neighbor) else "disable",
        next_hop_families=_NEXT_HOP_FAMILIES if takes_ipv6_next_hop(neighbor) else "",
        options="".join(f"    {line};\n" for line in _options(neighbor)),
        graceful_restart="disable" if neighbor.graceful_restart is None else int(neighbor.graceful_restart),
    )


def _sending_ttl(neighbor: Neighbor) -> int:
    """GTSM: RFC 5082 section 3. Otherwise a direct eBGP session is kept to its link."""
    if neighbor.ttl_security:
        return _GTSM_TTL
    return _ANY_DISTANCE_TTL if neighbor.internal or neighbor.multihop else _DIRECT_TTL


def _options(neighbor: Neighbor) -> Iterator[str]:
    """Statements that only some neighbors have. A backslash begins an escape, even between quotes.

    Where to wait for a passive one stands in ``connect``: its ``listen`` is for ExaBGP's own listener, not for ours.
    """
    if neighbor.passive:
        yield "passive true"
    if neighbor.ttl_security:
        yield f"incoming-ttl {_GTSM_TTL}"
    if neighbor.password is not None:
        escaped = neighbor.password.value.replace("\\", "\\\\")
        yield f'md5-password "{escaped}"'
        yield "md5-base64 false"


def _path(path: Path) -> str:
    if not _SAFE_PATH.fullmatch(str(path)):
        raise ValueError(f"ExaBGP cannot take the path {str(path)!r}: use letters, digits and _ . + @ = / - only")
    return str(path)


def environment(base: Mapping[str, str], *, user: str) -> dict[str, str]:
    """``base`` with every setting of ExaBGP that matters said outright, so that no file or variable of the host does.

    ``user`` is who runs the speaker. ExaBGP does not change it: it has to read its configuration (mode 0600) at every
    reload. ``reactor.speed`` 0.1: a pause of a millisecond, in the place of which ``bgpd.waiting`` sleeps; none below.
    """
    kept = {name: value for name, value in base.items() if not name.lower().startswith("exabgp")}
    return kept | {
        "PYTHONUNBUFFERED": "1",
        "EXABGP_ENVFILE": "/dev/null",
        "exabgp.api.ack": "true",
        "exabgp.api.cli": "false",
        "exabgp.api.encoder": "json",
        "exabgp.api.respawn": "false",
        "exabgp.api.terminate": "true",
        "exabgp.daemon.daemonize": "false",
        "exabgp.daemon.pid": "",
        "exabgp.daemon.user": user,
        "exabgp.log.destination": "stderr",
        "exabgp.log.enable": "true",
        "exabgp.log.level": "INFO",
        "exabgp.log.processes": "false",
        "exabgp.log.short": "true",
        "exabgp.log.statistics": "false",
        "exabgp.reactor.speed": "0.1",
        "exabgp.tcp.bind": "",
    }
