"""Each rule of the dialect: its valid example is taken, its invalid one is refused at the right place."""

from __future__ import annotations

import pytest

from announcer.config import ParseResult, parse
from tests.announcer.config.examples import Rule, advertisement
from tests.announcer.config.examples_attributes import PEERS
from tests.announcer.config.rules import RULES

_IDS = [rule.name[:40] for rule in RULES]


def _marked_line(text: str) -> int:
    before, mark, _ = text.rpartition("# <-")
    assert mark, "the example marks no line"
    return before.count("\n") + 1


@pytest.mark.parametrize("rule", RULES, ids=_IDS)
def test_the_valid_example_is_taken(rule: Rule) -> None:
    result = parse(rule.valid, file="f")
    assert [str(problem) for problem in result.problems] == []
    assert result.config is not None


@pytest.mark.parametrize("rule", RULES, ids=_IDS)
def test_the_invalid_example_is_refused_at_its_place(rule: Rule) -> None:
    result = parse(rule.invalid, file="f")
    found = [
        problem
        for problem in result.problems
        if rule.problem in problem.problem and rule.hint in problem.hint and problem.path == rule.path
    ]
    assert len(found) == 1, "\n".join(map(str, result.problems))
    assert found[0].line == _marked_line(rule.invalid)
    assert found[0].column > 0 or "cut off" in found[0].hint
    assert result.config is None


@pytest.mark.parametrize("rule", RULES, ids=_IDS)
def test_one_mistake_gives_one_problem(rule: Rule) -> None:
    """A tired reader must not have to find out which of several messages is the cause."""
    assert len(parse(rule.invalid).problems) == 1, "\n".join(map(str, parse(rule.invalid).problems))


def test_all_problems_of_a_file_are_reported_at_once_and_by_line() -> None:
    text = (
        "peers:\n- {peer-address: x, peer-asn: 0, my-asn: 1}\naddress-pools:\n- {name: a, protocol: layer2}\nfoo: 1\n"
    )
    result = parse(text)
    assert [(problem.line, problem.path) for problem in result.problems] == [
        (2, "peers[0].peer-address"),
        (2, "peers[0].peer-asn"),
        (4, "address-pools[0].addresses"),
        (4, "address-pools[0].protocol"),
        (5, "foo"),
    ]


def test_a_range_is_compared_with_the_widest_before_it_not_the_last() -> None:
    ranges = "[10.0.0.0/8, 10.1.0.0/24, 10.2.0.0/24, 11.0.0.0/24]"
    result = parse(f"address-pools: [{{name: a, protocol: bgp, addresses: {ranges}}}]")
    assert [problem.path for problem in result.problems] == [
        "address-pools[0].addresses[1]",
        "address-pools[0].addresses[2]",
    ]


def test_an_advertisement_is_compared_with_each_before_it() -> None:
    text = PEERS + advertisement("- peers: [10.0.0.1]\n- peers: [10.0.0.2]\n- peers: [10.0.0.2, '2001:db8::1']")
    problems = parse(text).problems
    assert [problem.path for problem in problems] == ["address-pools[0].bgp-advertisements[2]"]
    assert "as item 1 of this list" in problems[0].problem


def test_an_offset_moves_every_place() -> None:
    plain, moved = parse("peers: 1\n"), parse("peers: 1\n", line_offset=10, column_offset=4)
    assert _places(plain) == [(1, 8)]
    assert _places(moved) == [(11, 12)]


def _places(result: ParseResult) -> list[tuple[int, int]]:
    return [(problem.line, problem.column) for problem in result.problems]
