"""The examples and the reference of the dialect say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from announcer.config import load
from announcer.config.advertisements import KEYS as ADVERTISEMENT_KEYS
from announcer.config.bfd import KEYS as BFD_KEYS
from announcer.config.communities import WELL_KNOWN
from announcer.config.drain import KEYS as DRAIN_KEYS
from announcer.config.originals.dialects import NEVER, SINCE
from announcer.config.parse import KEYS as TOP_KEYS
from announcer.config.peers import KEYS as PEER_KEYS
from announcer.config.pod_cidrs import KEYS as POD_CIDR_KEYS
from announcer.config.pools import KEYS as POOL_KEYS
from announcer.config.walk import Keys

_ROOT = Path(__file__).parents[3]
_REFERENCE = (_ROOT / "docs" / "bgp-config.md").read_text()
_EXAMPLES = sorted((_ROOT / "configs" / "bgp-config").glob("*.yaml"))


def section(heading: str) -> str:
    """The text of one section of the reference."""
    return re.split(r"^#+ ", _REFERENCE.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize("path", _EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    assert len(_EXAMPLES) >= 5
    assert [str(problem) for problem in load(path.read_bytes(), path.name).problems] == []


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("Top level", TOP_KEYS),
        ("`peers`", PEER_KEYS),
        ("`address-pools`", POOL_KEYS),
        ("`bgp-advertisements`", ADVERTISEMENT_KEYS),
        ("`drain`", DRAIN_KEYS),
        ("`bfd-profiles`", BFD_KEYS),
    ],
)
def test_every_key_has_a_row_and_every_row_a_key(heading: str, keys: Keys) -> None:
    assert set(re.findall(r"^\| `([a-z0-9-]+)` \|", section(heading), re.MULTILINE)) == set(keys.served)


def test_what_is_refused_and_what_has_no_table_is_named() -> None:
    assert all(f"`{key}`" in section("`pod-cidrs`") for key in POD_CIDR_KEYS.served)
    for keys in (TOP_KEYS, PEER_KEYS):
        assert all(f"`{key}`" in section("Refused on purpose") for key in keys.refused)
    assert all(f"`{name}`" in section("`bgp-advertisements`") for name in WELL_KNOWN)


@pytest.mark.parametrize(
    ("kind", "heading"),
    [("", "Top level"), ("peer", "`peers`"), ("pool", "`address-pools`"), ("advertisement", "`bgp-advertisements`")],
)
def test_the_reference_and_the_check_agree_since_when_there_is_a_key(kind: str, heading: str) -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (own|0\.\d+) \|", section(heading), re.MULTILINE)
    assert len(rows) >= 4
    written = {key: NEVER if since == "own" else int(since[2:]) for key, since in rows}
    assert {key: SINCE[kind][key] for key in written} == written
