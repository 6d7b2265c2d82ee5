"""Communities: their three ways of writing (numbers, aliases of the file, well-known names), and large ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches

from announcer.config.scalars import is_plain, text
from announcer.config.walk import At, WrongValue
from announcer.model.bgp import Community, LargeCommunity
from announcer.yamltree import Node, shown

#: Names of the IANA registry "BGP Well-known Communities" (RFC 1997, 7611, 7999, 8326, 9494).
WELL_KNOWN: Mapping[str, Community] = {
    "graceful-shutdown": (0xFFFF, 0),
    "accept-own": (0xFFFF, 1),
    "llgr-stale": (0xFFFF, 6),
    "no-llgr": (0xFFFF, 7),
    "blackhole": (0xFFFF, 666),
    "no-export": (0xFFFF, 0xFF01),
    "no-advertise": (0xFFFF, 0xFF02),
    "no-export-subconfed": (0xFFFF, 0xFF03),
}

_COMMUNITY = re.compile(r"([0-9]{1,5}):([0-9]{1,5})")
_LARGE = re.compile(r"([0-9]{1,10}):([0-9]{1,10}):([0-9]{1,10})")
_SEXAGESIMAL = re.compile(r"[1-9][0-9]*(:[0-5]?[0-9])+")

#: The names of ``bgp-communities``. None: the name exists, its value is wrong (recorded once, where it stands).
Aliases = Mapping[str, Community | None]


def read_communities(at: At | None) -> dict[str, Community | None]:
    """The aliases of ``bgp-communities``."""
    if at is None:
        return {}
    return {key.text: value.read(community) for key, value in at.entries("names and communities")}


def community(node: Node) -> Community:
    """A community ``high:low``, two numbers of 16 bits (RFC 1997)."""
    word = text(node)
    _refuse_base_60(node, word)
    match = _COMMUNITY.fullmatch(word)
    if match is None and _LARGE.fullmatch(word):
        raise WrongValue(f'"{word}" is a large community', 'put it under "large-communities" of an advertisement')
    if match is None:
        raise WrongValue(f'"{shown(word)}" is not a community', 'write two numbers such as "64512:100"')
    high, low = int(match[1]), int(match[2])
    if high > 0xFFFF or low > 0xFFFF:
        hint = "both numbers must be at most 65535; large-communities take larger ones"
        raise WrongValue(f"{word} is out of range", hint)
    return high, low


def large_community(node: Node) -> LargeCommunity:
    """A large community ``a:b:c``, three numbers of 32 bits (RFC 8092)."""
    word = text(node)
    _refuse_base_60(node, word)
    match = _LARGE.fullmatch(word)
    if match is None:
        raise WrongValue(f'"{shown(word)}" is not a large community', 'write three numbers such as "64512:1:100"')
    first, second, third = (int(part) for part in match.groups())
    if max(first, second, third) > 0xFFFFFFFF:
        raise WrongValue(f"{word} is out of range", "the three numbers must be at most 4294967295")
    return first, second, third


def named_community(aliases: Aliases) -> Callable[[Node], Community | None]:
    """A converter of a community in any of the three ways. A name of the file wins over a well-known one.

    It gives None for a name whose value is wrong.
    """

    def convert(node: Node) -> Community | None:
        word = text(node)
        if word in aliases:
            return aliases[word]
        if word in WELL_KNOWN:
            return WELL_KNOWN[word]
        if ":" in word or word[:1].isdigit():
            return community(node)
        raise WrongValue(
            f'"{shown(word)}" is not a name in bgp-communities, nor a well-known one', _near(word, aliases)
        )

    return convert


def _near(word: str, aliases: Aliases) -> str:
    names = [*list(aliases)[:1000], *WELL_KNOWN]
    near = get_close_matches(word[:64].lower().replace("_", "-"), names, n=1)
    if near:
        return f'did you mean "{shown(near[0])}"?'
    known = ", ".join(shown(name) for name in list(aliases)[:8]) or "none"
    return f"names that are defined there: {known}"


def _refuse_base_60(node: Node, word: str) -> None:
    if not is_plain(node) or not _SEXAGESIMAL.fullmatch(word):
        return
    number = 0
    for digits in word[:40].split(":"):
        number = number * 60 + int(digits)
    raise WrongValue(
        f"{shown(word)} without quotes is the number {number} to many YAML parsers (digits to the base of 60)",
        f'write "{shown(word)}"',
    )
