"""ExaBGP's configuration: golden text, nothing that can be injected, and a real ExaBGP that takes it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import msgspec
import pytest

from announcer.model.bgp import Neighbor, Password
from announcer.model.net import Family
from bgpd.problems import neighbor_problems
from bgpd.render import environment, render
from bgpd.validation import validate

_READ = """
import json, sys
from exabgp.environment import getenv
from exabgp.logger import log
from exabgp.configuration.configuration import Configuration
log.init(getenv())
configuration = Configuration([sys.argv[1]])
assert configuration.reload(), "refused"
found = {str(n["peer-address"].top()): n["md5-password"] for n in configuration.neighbors.values()}
print(json.dumps(found))
"""
GOLDEN = Path(__file__).parent / "golden" / "exabgp.conf"
PATHS = {"python": Path("/usr/bin/python3"), "relay": Path("/opt/lk/relay.py"), "relay_socket": Path("/run/lk/r.sock")}
PLAIN = Neighbor(
    name="tor-a",
    address=IPv4Address("192.168.1.11"),
    peer_asn=64512,
    local_asn=64512,
    router_id=IPv4Address("192.168.1.21"),
)
FULL = Neighbor(
    name="tor-b",
    address=IPv4Address("192.168.1.12"),
    port=1790,
    peer_asn=4200000000,
    local_asn=64512,
    hold_time=9,
    router_id=IPv4Address("10.0.0.1"),
    local_address=IPv4Address("192.168.1.21"),
    graceful_restart=120,
    password=Password("a;b{c}\\#d"),
    ttl_security=True,
)
FAR = Neighbor(
    name="rr",
    address=IPv4Address("192.168.7.1"),
    peer_asn=64600,
    local_asn=64512,
    router_id=IPv4Address("192.168.1.21"),
    multihop=True,
)
NEAR = msgspec.structs.replace(FAR, name="tor-c", address=IPv4Address("192.168.1.13"), multihop=False)
SIX = msgspec.structs.replace(
    FULL,
    name="tor-d",
    address=IPv6Address("2001:db8::1"),
    local_address=IPv6Address("2001:db8::2"),
    families=tuple(Family),
)
BOTH = msgspec.structs.replace(PLAIN, name="tor-e", address=IPv4Address("192.168.1.14"), families=tuple(Family))
ALL = [FULL, PLAIN, FAR, NEAR, SIX, BOTH]
VISIBLE = "".join(map(chr, range(0x21, 0x7F)))


def test_golden() -> None:
    assert render(ALL, **PATHS) == GOLDEN.read_text()


def test_the_order_of_neighbors_does_not_matter() -> None:
    assert render(ALL, **PATHS) == render(ALL[::-1], **PATHS)


def test_exabgp_takes_it(tmp_path: Path) -> None:
    file = tmp_path / "exabgp.conf"
    relay = Path(__file__).parents[2] / "bgpd" / "relay.py"
    paths = {"python": Path(sys.executable), "relay": relay, "relay_socket": tmp_path / "relay.sock"}
    file.write_text(render(ALL, **paths))
    asyncio.run(validate(file))


def test_exabgp_reads_every_password_as_it_was_meant(tmp_path: Path) -> None:
    """Every character that is allowed, alone, in the middle and at the end, and the longest ones."""
    allowed = [character for character in VISIBLE if character not in "\"'"]
    passwords = [text for c in allowed for text in (c, f"x{c}y", f"x{c}", f"{c}x", c * 3)]
    passwords += ["".join(allowed[:80]), "".join(allowed[-80:]), "u0022\\u0022\\n", "0123abcd", "aGVsbG8="]
    neighbors = [
        msgspec.structs.replace(PLAIN, name=f"n{number}", address=PLAIN.address + number, password=Password(text))
        for number, text in enumerate(passwords)
    ]
    file = tmp_path / "exabgp.conf"
    file.write_text(render(neighbors, **PATHS))
    read = subprocess.run([sys.executable, "-c", _READ, file], capture_output=True, text=True, check=True, cwd="/")
    assert msgspec.json.decode(read.stdout.splitlines()[-1]) == {
        str(neighbor.address): password for neighbor, password in zip(neighbors, passwords, strict=True)
    }


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is empty"),
        ('a"; } canary', "character"),
        ("canary'", "character"),
        ("can ary", "character"),
        ("can\nary", "character"),
        ("can\0ary", "character"),
        ("canäry", "character"),
        ("canary" * 14, "longer than 80 bytes"),
    ],
)
def test_a_password_that_cannot_stand_there_is_refused_without_its_value(value: str, words: str) -> None:
    wrong = msgspec.structs.replace(PLAIN, password=Password(value))
    (problem,) = neighbor_problems([wrong])
    assert words in str(problem)
    with pytest.raises(ValueError, match=words) as raised:
        render([wrong], **PATHS)
    for text in (str(problem), repr(problem), str(raised.value), repr(wrong)):
        assert "can" not in text.replace("cannot", "")


@pytest.mark.parametrize("evil", ["/x;y", "/x y", "/x{", "/x}", "/x\ny", '/x"', "/x'", "/x#", "/x\\y", "x", "/ü"])
@pytest.mark.parametrize("where", ["python", "relay", "relay_socket"])
def test_a_path_cannot_end_a_statement(where: str, evil: str) -> None:
    with pytest.raises(ValueError, match="cannot take the path"):
        render([PLAIN], **(PATHS | {where: Path(evil)}))


def test_names_are_not_in_it() -> None:
    evil = msgspec.structs.replace(PLAIN, name='x; } neighbor 1.2.3.4 { "')
    assert render([evil], **PATHS) == render([PLAIN], **PATHS)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": IPv6Address("fe80::1")}, "link-local"),
        ({"local_address": IPv6Address("2001:db8::1")}, "not of one family"),
        ({"router_id": IPv6Address("2001:db8::1")}, "RFC 6286"),
        ({"router_id": IPv4Address("0.0.0.0")}, "RFC 6286"),
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "port 65536"),
        ({"hold_time": 2}, "hold time 2"),
        ({"hold_time": 65536}, "hold time 65536"),
        ({"peer_asn": 0}, "peer ASN 0"),
        ({"local_asn": 4294967296}, "local ASN 4294967296"),
        ({"graceful_restart": 4096}, "graceful restart time 4096"),
        ({"multihop": True, "ttl_security": True}, "exclude each other"),
    ],
)
def test_what_cannot_run_is_said(change: dict[str, object], words: str) -> None:
    wrong = msgspec.structs.replace(PLAIN, **change)
    (problem,) = neighbor_problems([wrong])
    assert words in str(problem)
    assert problem.path == "neighbors[tor-a]"
    with pytest.raises(ValueError, match=words):
        render([wrong], **PATHS)


def test_good_neighbors_have_no_problems() -> None:
    assert neighbor_problems(ALL) == []
    assert neighbor_problems([msgspec.structs.replace(PLAIN, hold_time=0)]) == []


def test_the_environment_says_everything_itself() -> None:
    base = {"PATH": "/bin", "exabgp.tcp.bind": "0.0.0.0", "exabgp_api_ack": "false", "EXABGP_ENVFILE": "/etc/x"}
    made = environment(base, user="root")
    assert made["PATH"] == "/bin"
    assert "exabgp_api_ack" not in made
    assert (made["exabgp.tcp.bind"], made["EXABGP_ENVFILE"]) == ("", "/dev/null")
    assert (made["exabgp.api.ack"], made["exabgp.api.cli"], made["exabgp.reactor.speed"]) == ("true", "false", "0.1")
