"""What is concluded from the kernel's counters and from unanswered connection requests."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address
from pathlib import Path

import msgspec
import pytest

from announcer.model.bgp import Neighbor, Password
from bgpd import watch
from bgpd.core import Core, Now
from bgpd.diagnosis import from_bind, from_drops, from_nothing, from_silence
from bgpd.sockdiag import TcpSocket
from bgpd.tcpstat import Drops, parse_drops, read_drops

PLAIN = Neighbor(name="r", address=IPv4Address("10.0.0.1"), peer_asn=2, local_asn=1)
SIGNED = msgspec.structs.replace(PLAIN, password=Password("canary"))
GTSM = msgspec.structs.replace(PLAIN, ttl_security=True)
SOCKET = TcpSocket(family=2, identity=b"", inode=1, acked=0, established=False, retransmits=1)


@pytest.mark.parametrize(
    ("neighbor", "drops", "words"),
    [
        (SIGNED, Drops(mismatched=1), "another password"),
        (SIGNED, Drops(unsigned=1), "does not sign"),
        (SIGNED, Drops(signed=1, low_ttl=1), ""),
        (PLAIN, Drops(signed=1), "none is configured here"),
        (PLAIN, Drops(unsigned=1, mismatched=1, low_ttl=1), ""),
        (GTSM, Drops(low_ttl=1), "GTSM"),
        (GTSM, Drops(), ""),
    ],
)
def test_drops_speak_of_those_whom_they_can_concern(neighbor: Neighbor, drops: Drops, words: str) -> None:
    text = from_drops(neighbor, drops)
    assert words in text
    assert bool(text) == bool(words)
    assert "canary" not in text


def test_silence_is_not_said_before_something_was_sent_again() -> None:
    assert from_silence(SIGNED, msgspec.structs.replace(SOCKET, retransmits=0)) == ""
    assert from_silence(SIGNED, SOCKET).startswith("TCP-MD5: no answer from 10.0.0.1 port 179")
    assert not from_silence(PLAIN, SOCKET).startswith("TCP-MD5")
    taken = msgspec.structs.replace(SOCKET, established=True)
    assert "may run TTL security" in from_silence(PLAIN, taken)
    assert "does not run TTL security" in from_silence(GTSM, taken)
    assert "it runs TTL security" in from_silence(PLAIN, SOCKET)
    assert "does not run TTL security" in from_silence(GTSM, SOCKET)


def test_only_a_direct_session_is_told_of_multihop() -> None:
    assert "multihop" in from_nothing(PLAIN)
    assert "multihop" not in from_nothing(msgspec.structs.replace(PLAIN, multihop=True))
    assert "multihop" not in from_nothing(msgspec.structs.replace(PLAIN, peer_asn=1))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, ""),
        (errno.EADDRINUSE, "port 179 of 10.0.0.9 is taken"),
        (errno.EACCES, "CAP_NET_BIND_SERVICE"),
        (errno.EADDRNOTAVAIL, "10.0.0.9 is no usable address of this node: no connection can come to it"),
        (errno.EMFILE, "cannot listen on port 179 of 10.0.0.9: Too many open files"),
    ],
)
def test_what_keeps_the_speaker_from_waiting_is_named(code: int, words: str) -> None:
    passive = msgspec.structs.replace(PLAIN, passive=True)
    text = from_bind(passive, IPv4Address("10.0.0.9"), code)
    assert words in text
    assert bool(text) == bool(words)


def test_counters_are_found_by_name_whatever_else_there_is() -> None:
    text = (
        "TcpExt: A TCPMD5NotFound TCPMD5Unexpected TCPMD5Failure TCPMinTTLDrop B\nTcpExt: 9 1 2 3 4 9\n"
        "IpExt: TCPMD5Failure\nIpExt: 77\n"
    )
    assert parse_drops(text) == Drops(unsigned=1, signed=2, mismatched=3, low_ttl=4)
    assert parse_drops(text).since(Drops(1, 1, 1, 1)) == Drops(0, 1, 2, 3)
    assert parse_drops("TcpExt: A\nTcpExt: 1\n") == Drops()


def test_this_kernel_has_them() -> None:
    names = Path("/proc/self/net/netstat").read_text().split()
    assert {"TCPMD5NotFound", "TCPMD5Unexpected", "TCPMD5Failure", "TCPMinTTLDrop"} <= set(names)
    assert min(msgspec.structs.astuple(read_drops())) >= 0


def test_what_an_earlier_connection_drops_is_not_held_against_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counters are the namespace's. While somebody else's socket to that port is there, only silence counts."""
    ours = msgspec.structs.replace(SOCKET, identity=bytes(20) + GTSM.address.packed, retransmits=0)
    orphan = msgspec.structs.replace(ours, inode=0)
    for sockets, words in (([ours, orphan], None), ([ours], "TTL below 255")):
        core = Core()
        core.set_neighbors([GTSM], Now(0.0, 0.0))
        counters = iter([Drops(low_ttl=5), Drops(low_ttl=7)])
        monkeypatch.setattr(watch, "read_drops", lambda counters=counters: next(counters))
        monkeypatch.setattr(watch, "socket_inodes", lambda pid: {ours.inode})
        looking = watch.Watch()
        monkeypatch.setattr(looking._diag, "toward", lambda port, sockets=sockets: sockets)
        for second in (1.0, 2.0):
            looking.look(core, 1, Now(second, 0.0))
        error = core.peers["r"].last_error
        assert (error is None) if words is None else words in (error or "")
        looking.close()
