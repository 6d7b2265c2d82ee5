"""More backends than 16 bits can number: every id is 32 bits all the way to the packet."""

from __future__ import annotations

from ipaddress import IPv4Address

import msgspec
import pytest

from announcer.model.lb import Backend, Frontend
from datapath import packet, probe
from datapath.abi import PacketReason
from tests.datapath.node import SMALL, VIP, Node, done, failed, frontend, observe, program, proven, remove

pytestmark = pytest.mark.root

SERVICES, EACH = 70, 1000
LIMITS = msgspec.structs.replace(SMALL, frontends=128, backends=72_000, row_pages=3 * 34 * SERVICES)


def wanted(number: int) -> Frontend:
    pods = IPv4Address("10.64.0.0") + number * EACH
    return frontend(*(Backend(pods + each, 8080) for each in range(EACH)), port=1024 + number)


def test_backends_beyond_65536_are_served_like_any_other(node: Node) -> None:
    datapath = node.attached(LIMITS)
    frontends = [wanted(number) for number in range(SERVICES)]
    for each in frontends:
        done(program(datapath, each))
    seen = observe(datapath)
    assert seen.frontends == {each.key: each for each in frontends}
    assert seen.maps["lb_backends"].used == SERVICES * EACH
    for each in (frontends[0], frontends[-1]):
        proven(datapath, each)
    link, last = node.link(), frontends[-1]
    answers = [
        probe.run(datapath._prog, link.ifindex, packet.build(flow, link.address))
        for flow in (
            packet.Flow(IPv4Address("192.0.2.1"), port, VIP, last.key.port, last.key.protocol) for port in range(50)
        )
    ]
    assert {answer.reason for answer in answers} == {PacketReason.REMOTE_TX}
    assert min(answer.backend for answer in answers) > 65_536
    parsed = [packet.parse(answer.frame) for answer in answers]
    assert {each.outer.dest for each in parsed if each and each.outer} <= {backend.address for backend in last.backends}
    done(remove(datapath, last.key))
    assert observe(datapath).maps["lb_backends"].used == (SERVICES - 1) * EACH


def test_ids_that_lie_apart_are_used_too(node: Node) -> None:
    datapath = node.attached(msgspec.structs.replace(SMALL, backends=8))
    one = [frontend(Backend(IPv4Address("10.64.0.0") + number, 8080), port=1024 + number) for number in range(7)]
    for each in one:
        done(program(datapath, each))
    for each in one[::2]:
        done(remove(datapath, each.key))
    long = frontend(*(Backend(IPv4Address("10.65.0.0") + number, 8080) for number in range(4)))
    done(program(datapath, long))
    assert sorted(datapath._tables.frontends[long.key].numbers) == [1, 3, 5, 7]
    proven(datapath, long, *one[1::2])
    refused = program(datapath, frontend(Backend(IPv4Address("10.66.0.0"), 8080), port=80, vip=VIP + 1))
    assert "take a backend id" in failed(refused)
