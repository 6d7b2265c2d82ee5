"""Why a session does not come up, as far as the kernel knows it: TCP-MD5 and GTSM fail without a word to the program.

A segment with a wrong signature, without one, or with a low TTL is dropped, and the side that sent it sees nothing but
silence. If we drop, the kernel counts it (``bgpd.tcpstat``), for the whole network namespace. If the peer drops, all
there is to see is our own connection request that is sent again and again (``bgpd.sockdiag``).
"""

from __future__ import annotations

import errno
import os

from announcer.model.bgp import Neighbor
from announcer.model.net import IPAddress
from bgpd.sockdiag import TcpSocket
from bgpd.tcpstat import Drops


def from_drops(neighbor: Neighbor, drops: Drops) -> str:
    """What ``drops``, counted while ``neighbor`` had no session, say of it; "" if nothing."""
    if neighbor.password is not None and drops.mismatched:
        return "TCP-MD5: the signatures of the peer are wrong: it has another password than this node"
    if neighbor.password is not None and drops.unsigned:
        return "TCP-MD5: the peer does not sign: it has no password for this node"
    if neighbor.password is None and drops.signed:
        return "TCP-MD5: the peer signs: it has a password for this node, and none is configured here"
    if neighbor.ttl_security and drops.low_ttl:
        return from_low_ttl()
    return ""


def from_low_ttl() -> str:
    """What to say if GTSM keeps the packets of a peer out."""
    return "GTSM: packets come with a TTL below 255: the peer does not run TTL security, or is not next to us"


def from_bind(neighbor: Neighbor, local: IPAddress, code: int) -> str:
    """What to say if the kernel refuses the address ``local``, or the port where a passive peer is waited for.

    ``code``: errno of bind(2); "" if it is 0.
    """
    port = f"port {neighbor.port} of {local}"
    if code == errno.EADDRNOTAVAIL:
        way = "to" if neighbor.passive else "from"
        return f"the source-address {local} is no usable address of this node: no connection can come {way} it"
    if code == errno.EADDRINUSE:
        return f"{port} is taken: another program of this node listens there, so {neighbor.address} cannot connect"
    if code in (errno.EACCES, errno.EPERM):
        return f"the speaker may not listen on {port}: it needs CAP_NET_BIND_SERVICE, or a connect-port from 1024 on"
    return f"the speaker cannot listen on {port}: {os.strerror(code)}" if code else ""


def from_silence(neighbor: Neighbor, attempt: TcpSocket) -> str:
    """What an ``attempt`` at a connection to ``neighbor`` says that had to send again; "" if it has not yet."""
    if not attempt.retransmits:
        return ""
    where = f"{neighbor.address} port {neighbor.port}"
    if attempt.established:
        gtsm = "GTSM: " if neighbor.ttl_security else ""
        why = "does not run TTL security" if neighbor.ttl_security else "may run TTL security (GTSM)"
        return f"{gtsm}{where} took the connection and then acknowledges nothing: it {why}"
    if neighbor.password is not None:
        return f"TCP-MD5: no answer from {where}: it has another password for this node, or none, or is not reachable"
    gtsm = "it does not run TTL security (GTSM)" if neighbor.ttl_security else "it runs TTL security (GTSM)"
    return f"no answer from {where}: not reachable, or {gtsm}, or it has a TCP-MD5 password for this node"


def from_nothing(neighbor: Neighbor) -> str:
    """What is to say if the kernel knows nothing else: an attempt was refused, or ended before the session was up."""
    direct = not (neighbor.internal or neighbor.multihop)
    far = ", or more than one hop away, for which it needs multihop" if direct else ""
    if neighbor.passive:
        where = f"port {neighbor.port} of this node"
        return f"no TCP connection from {neighbor.address} to {where}: none came, or it was closed at once{far}"
    where = f"{neighbor.address} port {neighbor.port}"
    return f"no TCP connection to {where}: refused, closed at once, or not reachable{far}"
