"""ExaBGP's configuration and environment from neighbors. Pure: the same neighbors always give the same text.

No route is in it: ExaBGP 5.0 does not withdraw a static route that a reload removed, so routes go through its API only.
Every value is an address, a number, a checked path or a checked password, so nothing that an operator wrote can end a
statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from announcer.model.bgp import Neighbor, Password
from announcer.model.errors import ConfigProblem
from announcer.model.net import IPAddress

_SAFE_PATH = re.compile(r"/[A-Za-z0-9_.+@=/-]+")
#: ExaBGP knows no way to write a quote inside quotes; all else of ASCII that can be seen it takes.
_SAFE_PASSWORD = re.compile(r"[!-~]+")
_QUOTES = frozenset("\"'")
#: RFC 2385 leaves it open; this is what Linux takes (linux/tcp.h, TCP_MD5SIG_MAXKEYLEN).
_PASSWORD_BYTES = 80

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
        ipv4 unicast;
    }}
    capability {{
        asn4 enable;
        extended-message disable;
        route-refresh disable;
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


def neighbor_problems(neighbors: Iterable[Neighbor]) -> list[ConfigProblem]:
    """What ExaBGP, or this release, cannot run among ``neighbors``; empty if all is well."""
    problems: list[ConfigProblem] = []
    names: set[str] = set()
    addresses: set[IPAddress] = set()
    for neighbor in neighbors:
        problems += [ConfigProblem(path=f"neighbors[{neighbor.name}]", problem=text) for text in _one(neighbor)]
        if neighbor.name in names or neighbor.address in addresses:
            text = f"another neighbor has the same name or the address {neighbor.address}"
            problems.append(ConfigProblem(path=f"neighbors[{neighbor.name}]", problem=text))
        names.add(neighbor.name)
        addresses.add(neighbor.address)
    return problems


def _one(neighbor: Neighbor) -> Iterable[str]:
    for what, address in (
        ("address", neighbor.address),
        ("local address", neighbor.local_address),
        ("router id", neighbor.router_id),
    ):
        if address is not None and address.version != 4:
            yield f"the {what} {address} is IPv6, and IPv6 sessions are not supported yet"
    if neighbor.router_id is not None and int(neighbor.router_id) == 0:
        yield "the router id 0.0.0.0 is not valid (RFC 6286 section 2.1)"
    if not 1 <= neighbor.port <= 65535:
        yield f"port {neighbor.port} is not between 1 and 65535"
    if not (neighbor.hold_time == 0 or 3 <= neighbor.hold_time <= 65535):
        yield f"hold time {neighbor.hold_time} is neither 0 nor between 3 and 65535 (RFC 4271 section 4.2)"
    for what, asn in (("peer ASN", neighbor.peer_asn), ("local ASN", neighbor.local_asn)):
        if not 1 <= asn <= 4294967295:
            yield f"{what} {asn} is not between 1 and 4294967295"
    if neighbor.graceful_restart is not None and not 1 <= neighbor.graceful_restart <= 4095:
        yield f"graceful restart time {neighbor.graceful_restart} is not between 1 and 4095 (RFC 4724 section 3)"

    if neighbor.multihop and neighbor.ttl_security:
        yield "multihop and TTL security exclude each other: TTL 255 proves that the peer is one hop away (RFC 5082)"
    if neighbor.passive:
        yield "passive is not supported: the engine would have to listen, and it would do so for everybody"
    if neighbor.password is not None:
        yield from _password_problems(neighbor.password)


def _password_problems(password: Password) -> Iterable[str]:
    """Never a word of the password itself, nor how long it is."""
    if not password.value:
        yield "the TCP-MD5 password is empty"
    elif not _SAFE_PASSWORD.fullmatch(password.value) or not _QUOTES.isdisjoint(password.value):
        yield "the TCP-MD5 password has a character that is not visible ASCII, or a quote, which ExaBGP cannot take"
    if len(password.value) > _PASSWORD_BYTES:
        yield f"the TCP-MD5 password is longer than {_PASSWORD_BYTES} bytes, which is all that Linux takes"


def render(neighbors: Iterable[Neighbor], *, python: Path, relay: Path, relay_socket: Path) -> str:
    """The configuration for ``neighbors``, each of which must have a ``router_id``, in the order of their names.

    Raises ValueError for a path that cannot stand in it, and for neighbors that :func:`neighbor_problems` objects to.
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
        options="".join(f"    {line};\n" for line in _options(neighbor)),
        graceful_restart="disable" if neighbor.graceful_restart is None else int(neighbor.graceful_restart),
    )


def _sending_ttl(neighbor: Neighbor) -> int:
    """GTSM: RFC 5082 section 3. Otherwise a direct eBGP session is kept to its link."""
    if neighbor.ttl_security:
        return _GTSM_TTL
    return _ANY_DISTANCE_TTL if neighbor.internal or neighbor.multihop else _DIRECT_TTL


def _options(neighbor: Neighbor) -> Iterator[str]:
    """Statements that only some neighbors have. A backslash begins an escape, even between quotes."""
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
    reload. ``reactor.speed`` 0.1: at the default of 1.0 it mostly sleeps, at 0.01 it burns a core when idle.
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
