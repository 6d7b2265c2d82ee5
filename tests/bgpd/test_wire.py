"""BGP messages that the speaker reads: UPDATEs that go out, OPENs and NOTIFICATIONs that come in."""

from __future__ import annotations

from ipaddress import IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bgpd.wire import describe_notification, offers_ipv4_unicast, parse_update

prefixes = st.lists(
    st.builds(
        lambda address, bits: IPv4Network((address, bits), strict=False), st.integers(0, 2**32 - 1), st.integers(0, 32)
    ),
    max_size=20,
)


def packed(networks: list[IPv4Network]) -> bytes:
    return b"".join(
        bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8]
        for network in networks
    )


@given(withdrawn=prefixes, announced=prefixes, attributes=st.binary(max_size=60))
def test_update_round_trip(withdrawn: list[IPv4Network], announced: list[IPv4Network], attributes: bytes) -> None:
    fields = [packed(withdrawn), attributes]
    body = b"".join(len(field).to_bytes(2, "big") + field for field in fields) + packed(announced)
    update = parse_update(body)
    assert update.withdrawn == tuple(withdrawn)
    assert update.announced == tuple(announced)
    assert update.end_of_rib == (not withdrawn and not announced)


def test_an_update_seen_on_the_wire() -> None:
    """What ExaBGP 5.0.15 sent to a BIRD for two prefixes with two communities."""
    body = bytes.fromhex("0000001F4001010040020602010000FDE94003040A630001C00808FDE80001FDE8000220CB00710120CB007102")
    assert parse_update(body).announced == (IPv4Network("203.0.113.1/32"), IPv4Network("203.0.113.2/32"))
    assert parse_update(bytes(4)).end_of_rib


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_raise_value_error(body: bytes) -> None:
    for parse in (parse_update, offers_ipv4_unicast):
        try:
            parse(body)
        except ValueError:
            continue
    assert describe_notification(body)


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("", True), ("0206010400010001", True), ("0206010400020001", False), ("020c010400020001010400010001", True)],
)
def test_families_of_an_open(capabilities: str, expected: bool) -> None:
    value = bytes.fromhex(capabilities)
    assert offers_ipv4_unicast(bytes(9) + bytes([len(value)]) + value) is expected


def test_notifications_in_words() -> None:
    assert describe_notification(b"\x06\x02\x05later") == 'Cease (6), Administrative Shutdown (2): "later"'
    assert describe_notification(b"\x06\x02\x06la\nter") == 'Cease (6), Administrative Shutdown (2): "later"'
    assert describe_notification(b"\x04\x00") == "Hold Timer Expired (4), subcode (0)"
    assert describe_notification(b"\x02\x02") == "OPEN Message Error (2), Bad Peer AS (2)"
