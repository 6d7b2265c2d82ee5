"""BGP messages that the speaker reads: UPDATEs that go out, OPENs and NOTIFICATIONs that come in."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.net import Family, IPNetwork
from bgpd.wire import Offer, Update, describe_notification, parse_open, parse_update


def networks(family: Family) -> st.SearchStrategy[list[IPNetwork]]:
    size = 32 if family is Family.IPV4 else 128
    of = IPv4Network if size == 32 else IPv6Network
    one = st.builds(
        lambda address, bits: of((address, bits), strict=False), st.integers(0, 2**size - 1), st.integers(0, size)
    )
    return st.lists(one, max_size=20)


def packed(found: list[IPNetwork]) -> bytes:
    return b"".join(
        bytes([network.prefixlen]) + network.network_address.packed[: (network.prefixlen + 7) // 8] for network in found
    )


def attribute(kind: int, value: bytes) -> bytes:
    """Optional, with a length in two bytes where one is not enough."""
    if len(value) > 255:
        return bytes([0x90, kind]) + len(value).to_bytes(2, "big") + value
    return bytes([0x80, kind, len(value)]) + value


def update(withdrawn: bytes, attributes: bytes, announced: bytes) -> bytes:
    return b"".join(len(field).to_bytes(2, "big") + field for field in (withdrawn, attributes)) + announced


@given(withdrawn=networks(Family.IPV4), announced=networks(Family.IPV4), value=st.binary(max_size=300))
def test_ipv4_stands_at_either_end(withdrawn: list[IPNetwork], announced: list[IPNetwork], value: bytes) -> None:
    parsed = parse_update(update(packed(withdrawn), attribute(8, value), packed(announced)))
    assert parsed == Update(tuple(withdrawn), tuple(announced))


@given(
    family=st.sampled_from(Family),
    data=st.data(),
    next_hop=st.sampled_from([4, 16, 32]),
    others=st.binary(max_size=300),
)
def test_all_else_stands_in_attributes(family: Family, data: st.DataObject, next_hop: int, others: bytes) -> None:
    code = b"\0\x01\x01" if family is Family.IPV4 else b"\0\x02\x01"
    withdrawn, announced = data.draw(networks(family)), data.draw(networks(family))
    attributes = (
        attribute(1, others)
        + attribute(15, code + packed(withdrawn))
        + attribute(14, code + bytes([next_hop]) + bytes(next_hop + 1) + packed(announced))
    )
    parsed = parse_update(update(b"", attributes, b""))
    assert (parsed.withdrawn, parsed.announced) == (tuple(withdrawn), tuple(announced))
    assert (parsed.marked is None) == bool(withdrawn or announced)


def test_updates_seen_on_the_wire() -> None:
    """What ExaBGP 5.0.15 sent to a BIRD: two prefixes with two communities, then its two End-of-RIB markers."""
    body = bytes.fromhex("0000001F4001010040020602010000FDE94003040A630001C00808FDE80001FDE8000220CB00710120CB007102")
    assert parse_update(body).announced == (IPv4Network("203.0.113.1/32"), IPv4Network("203.0.113.2/32"))
    assert parse_update(bytes(4)) == Update(marked=Family.IPV4)
    assert parse_update(bytes.fromhex("00000007900f0003000201")) == Update(marked=Family.IPV6)


@pytest.mark.parametrize(
    "body",
    ["", "0000", "000000", "00000003800e01", "0000000a800e07000201ff200100", "00000006800f03000102",
     "00000006800f03000281", "000000042120cb0071", "00000007800f04000201ff"],
)  # fmt: skip
def test_a_malformed_update_is_refused(body: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_update(bytes.fromhex(body))


@given(st.binary(max_size=40))
def test_any_bytes_parse_or_raise_value_error(body: bytes) -> None:
    for parse in (parse_update, parse_open):
        try:
            parse(body)
        except ValueError:
            continue
    assert describe_notification(body)


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", Offer()),
        ("020641040000fde8", Offer()),
        ("0206010400010001", Offer(frozenset({Family.IPV4}))),
        ("0206010400020001", Offer(frozenset({Family.IPV6}))),
        ("0206010400010004", Offer()),  # labelled IPv4 is another family
        ("020c010400020001010400010001", Offer(frozenset(Family))),
        ("020e0104000100010506000100010002", Offer(frozenset({Family.IPV4}), ipv6_next_hop=True)),
        ("0214010400010001050c000200010001000100010002", Offer(frozenset({Family.IPV4}), ipv6_next_hop=True)),
        ("020e0104000100010506000100040002", Offer(frozenset({Family.IPV4}))),  # only for labelled IPv4
    ],
)
def test_what_an_open_offers(parameters: str, expected: Offer) -> None:
    value = bytes.fromhex(parameters)
    assert parse_open(bytes(9) + bytes([len(value)]) + value) == expected
    # The same as RFC 9072 writes what is too long for that: two marks, and lengths of two bytes.
    extended = b"\x02\0" + value[1:] if value else b""
    assert parse_open(bytes(9) + b"\xff\xff" + len(extended).to_bytes(2, "big") + extended) == expected


def test_notifications_in_words() -> None:
    assert describe_notification(b"\x06\x02\x05later") == 'Cease (6), Administrative Shutdown (2): "later"'
    assert describe_notification(b"\x06\x02\x06la\nter") == 'Cease (6), Administrative Shutdown (2): "later"'
    assert describe_notification(b"\x04\x00") == "Hold Timer Expired (4), subcode (0)"
    assert describe_notification(b"\x02\x02") == "OPEN Message Error (2), Bad Peer AS (2)"
