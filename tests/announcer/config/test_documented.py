"""docs/bgp-config.md, the tables of keys in the code, and the examples of the rules speak of the same keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from announcer.config import advertisements, bfd, drain, peers, pod_cidrs, pools
from announcer.config.parse import KEYS as TOP_KEYS
from announcer.config.walk import Keys
from tests.announcer.config.rules import RULES

DOCS = Path(__file__).parents[3] / "docs" / "bgp-config.md"

#: The section of the page, and the keys that the code takes there.
SERVED: dict[str, Keys] = {
    "Top level": TOP_KEYS,
    "peers": peers.KEYS,
    "address-pools": pools.KEYS,
    "bgp-advertisements": advertisements.KEYS,
    "pod-cidrs": pod_cidrs.KEYS,
    "drain": drain.KEYS,
    "bfd-profiles": bfd.KEYS,
}


def _sections() -> dict[str, str]:
    parts = re.split(r"^#+ (.+)$", DOCS.read_text(), flags=re.MULTILINE)
    return {title.strip("`"): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}


def _documented(section: str) -> set[str]:
    text = _sections()[section]
    if section == "pod-cidrs":  # has its keys in a sentence
        return set(re.findall(r"`([a-z-]+)`", text.partition(" as above")[0]))
    return set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))


@pytest.mark.parametrize("section", SERVED)
def test_the_page_lists_exactly_the_keys_that_are_taken(section: str) -> None:
    assert _documented(section) == set(SERVED[section].served)


@pytest.mark.parametrize(
    ("section", "key"), [(section, key) for section, keys in SERVED.items() for key in keys.served]
)
def test_every_key_has_a_valid_and_an_invalid_example(section: str, key: str) -> None:
    within = "" if section == "Top level" else section
    paths = [rule.path for rule in RULES if within in rule.path and rule.problem]
    assert any(re.search(rf"(^|[.\]]){re.escape(key)}($|[.\[])", path) for path in paths), "no invalid example"
    assert any(re.search(rf'(^|[\s{{,-])"?{re.escape(key)}"?:', rule.valid) for rule in RULES), "no valid example"
