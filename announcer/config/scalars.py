"""Converters of single values: each takes a node and returns a value or raises ``WrongValue``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address
from typing import TypeVar

from announcer.config.walk import WrongValue
from announcer.model.net import Family, IPAddress
from announcer.yamltree import Node, YamlText, is_null, kind_name, shown

E = TypeVar("E", bound=StrEnum)

MAX_ASN = 2**32 - 1

_DECIMAL = re.compile(r"[0-9]{1,20}")
_DOTTED_ASN = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})")

#: What YAML 1.1 and the dialect's own parser take for a truth value. Only asked where one is expected.
_TRUTH = {
    word: value for value, words in ((True, "true yes on y"), (False, "false no off n")) for word in words.split()
}


def text(node: Node) -> str:
    """A single value that is not empty, as text. A number without quotes is taken as it is written."""
    if not isinstance(node, YamlText):
        raise WrongValue(f"must be a single value, not {kind_name(node)}", quotes=False)
    if is_null(node) or not node.text.strip():
        raise WrongValue("has no value", "give it one, or remove the key", quotes=False)
    return node.text


def truth(node: Node) -> bool:
    """``true`` or ``false`` without quotes."""
    word = text(node)
    value = _TRUTH.get(word.lower())
    if value is None or not is_plain(node):
        raise WrongValue(f'"{shown(word)}" is neither true nor false', "write true or false, without quotes")
    return value


def whole(low: int, high: int, example: int) -> Callable[[Node], int]:
    """A converter of decimal numbers from ``low`` to ``high``."""

    def convert(node: Node) -> int:
        word = text(node)
        if not is_plain(node) and _DECIMAL.fullmatch(word):
            raise WrongValue(f'"{word}" is text, not a number', f"write {int(word)}, without quotes")
        if not _DECIMAL.fullmatch(word):
            raise WrongValue(f'"{shown(word)}" is not a whole number', f"write a number such as {example}")
        if word != "0" and word.startswith("0"):
            raise WrongValue(f"{word} begins with a zero; some parsers read it as octal", f"write {int(word)}")
        if not low <= int(word) <= high:
            raise WrongValue(f"{word} is out of range", f"it must be from {low} to {high}")
        return int(word)

    return convert


def one_of(kind: type[E]) -> Callable[[Node], E]:
    """A converter of the words of an enumeration."""

    def convert(node: Node) -> E:
        word = text(node)
        if word not in tuple(kind):
            raise WrongValue(f'"{shown(word)}" is not known here', f"write {' or '.join(kind)}")
        return kind(word)

    return convert


def asn(node: Node) -> int:
    """An AS number of 4 bytes, not 0 (RFC 6793, RFC 7607), as a plain number (asplain, RFC 5396)."""
    word = text(node)
    dotted = _DOTTED_ASN.fullmatch(word)
    if dotted and all(int(part) <= 0xFFFF for part in dotted.groups()):
        high, low = (int(part) for part in dotted.groups())
        raise WrongValue(f"{word} is an AS number in dotted form", f"write {high * 65536 + low}")
    if word.upper().startswith("AS") and _DECIMAL.fullmatch(word[2:]):
        raise WrongValue(f'"{word}" is not a whole number', f"write {int(word[2:])}, without AS")
    return whole(1, MAX_ASN, 64512)(node)


def address(node: Node) -> IPAddress:
    """An IPv4 or IPv6 address of one host, without zone."""
    word = text(node)
    if "%" in word:
        raise WrongValue(f'"{shown(word)}" has a zone', "write an address that is reachable without one")
    if "/" in word:
        raise WrongValue(f'"{shown(word)}" is a prefix, not an address', "write the address without its length")
    try:
        found = ipaddress.ip_address(word)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not an IP address', _address_hint(word)) from None
    if found.is_unspecified or found.is_multicast or found == IPv4Address("255.255.255.255"):
        raise WrongValue(f"{found} is not the address of a host", "write the address of one machine")
    if found.version == 6 and found.is_link_local:
        problem = f"{found} is link-local, so it needs a zone, and zones are not served"
        raise WrongValue(problem, "write a global or unique local address (fd00::/8)")
    return found


def family(node: Node) -> Family:
    """An address family, ``ipv4`` or ``ipv6``."""
    word = text(node)
    try:
        return Family(word)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not an address family', "write ipv4 or ipv6") from None


def router_id(node: Node) -> IPv4Address:
    """A BGP identifier: written as an IPv4 address, not zero (RFC 6286)."""
    word = text(node)
    try:
        found = IPv4Address(word)
    except ValueError:
        raise WrongValue(f'"{shown(word)}" is not an IPv4 address', "a router ID looks like 10.0.0.1") from None
    if int(found) == 0:
        raise WrongValue("0.0.0.0 is not a router ID", "leave the key out to have one chosen")
    return found


def is_plain(node: Node) -> bool:
    """True if the value stands without quotes, so that other parsers may take it for something else than text."""
    return isinstance(node, YamlText) and node.plain


def _address_hint(word: str) -> str:
    octets = word.split(".")
    if len(octets) == 4 and all(_DECIMAL.fullmatch(octet) and int(octet) < 256 for octet in octets):
        return f"write {'.'.join(str(int(octet)) for octet in octets)}: leading zeros are ambiguous"
    if re.search("[g-zG-Z]", word):
        return "names are not looked up; write the address itself"
    return "an address looks like 10.0.0.1 or 2001:db8::1"
