"""How large maps are: what operators may say, and that the kernel makes them so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from announcer.cli.run import run
from datapath.limits import Limits
from tests.datapath.node import Node

ROW = re.compile(r"^\| `(lb_\w+)` \| ([\d,]+) \|", re.MULTILINE)
REFERENCE = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()


def settable(limits: Limits) -> dict[str, int]:
    """``lb_nodes`` goes with ``lb_backends``."""
    return {name: size for name, size in limits.max_entries().items() if size and name != "lb_nodes"}


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"lb_backend": 100}, "did you mean lb_backends?"),
        ({"lb_sieve": 100}, "is no map whose size can be set"),
        ({"lb_backends": 1}, "lb_backends can have 2 to 16777216 entries, not 1"),
        ({"lb_rows": 1000}, "lb_rows can have 1024 to 1073741824 entries, not 1000"),
        ({"lb_flows": 1 << 25}, "lb_flows can have"),
    ],
)
def test_a_size_that_cannot_be_is_said_in_words(sizes: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        Limits.of(sizes)


def test_rows_are_rounded_up_to_pages() -> None:
    assert Limits.of({"lb_rows": 1025}).row_pages == 2
    assert Limits.of({}) == Limits()


def test_the_reference_names_every_map_and_its_size() -> None:
    told = {name: int(size.replace(",", "")) for name, size in ROW.findall(REFERENCE)}
    sizes = settable(Limits())
    assert told == {**sizes, "lb_rows": sizes["lb_rows"] * 1024}
    assert Limits.of(told) == Limits()


@pytest.mark.parametrize("given", ["lb_frontends", "lb_frontends=many", "lb_frontend=5", "lb_rows=3"])
def test_a_size_that_makes_no_sense_is_wrong_use(given: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(run, [f"--source={tmp_path}", f"--map-size={given}"])
    assert done.exit_code == 2
    assert done.stderr.startswith("lockstep: --map-size: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.root
def test_the_kernel_makes_maps_of_these_sizes(node: Node) -> None:
    sizes = {name: 40 + number for number, name in enumerate(settable(Limits()))}
    sizes["lb_rows"] = 5 * 1024
    # LRU maps have at least a few entries for each CPU, and round up.
    sizes |= {name: 4096 for name in sizes if "flows" in name or "replies" in name or name == "lb_fragments"}
    maps = node.datapath(Limits.of(sizes))._loaded.maps
    assert maps.nodes.info.max_entries == maps.backends.info.max_entries
    made = {each.name: each.info.max_entries for each in maps if each.name in sizes}
    assert made == {**sizes, "lb_rows": 5}
