"""The tree of a YAML text: values without surprises, places, limits."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from announcer.model.errors import ConfigProblem
from announcer.yamltree import (
    Limits,
    YamlText,
    block_indent,
    decode_text,
    find,
    locate,
    path_text,
    plain_value,
    read_documents,
    shown,
)


def value(text: str) -> Any:
    reading = read_documents(text)
    assert reading.problems == ()
    return plain_value(reading.documents[0].root)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("-1", -1),
        ("0", 0),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("'1'", "1"),
        ('"true"', "true"),
        ("!!str 1", "1"),
        ("|\n 1\n", "1\n"),
        # What YAML 1.1 reads as something else:
        ("no", "no"),
        ("on", "on"),
        ("0123", "0123"),
        ("0x1f", "0x1f"),
        ("65000:10", "65000:10"),
        ("12:34:56", "12:34:56"),
        ("1_000", "1_000"),
        ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        (".inf", ".inf"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_values_follow_json(text: str, expected: Any) -> None:
    found = value(text)
    assert found == expected
    assert type(found) is type(expected)


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x85\u2028\u2029")),
    lambda below: (
        st.lists(below, max_size=4) | st.dictionaries(st.text("abc-./", min_size=1, max_size=5), below, max_size=4)
    ),
    max_leaves=20,
)


@given(_JSON.filter(lambda found: found is not None))
def test_what_is_dumped_is_read_back(expected: Any) -> None:
    text = yaml.safe_dump(expected, allow_unicode=False)
    assert value(text) == expected


def test_places_count_from_one() -> None:
    root = read_documents("a:\n  - b: 1\n    cé: {d: x}\n").documents[0].root
    assert locate(root, ("a", 0, "cé", "d")) == (3, 13)
    assert locate(root, ("a", 0, "b")) == (2, 8)
    assert locate(root, ("a", 7, "b")) == (2, 3)
    assert find(root, ("a", 0, "zz")) is None
    found = find(root, ("a", 0, "b"))
    assert isinstance(found, YamlText)
    assert found.text == "1"


@pytest.mark.parametrize(
    ("text", "indent"),
    [
        ("a: |\n  x\n", 2),
        ("a: |\n\n\n     x\n", 5),
        ("a: |2\n    x\n", 2),
        ("a: x\n", None),
        ("a: >\n  x\n", None),
        ('a: "x\\n"\n', None),
        ("a: |\n", 0),
        ("a: &b\n  |\n  x\n", None),
    ],
)
def test_lines_of_a_block_are_lines_of_the_text(text: str, indent: int | None) -> None:
    node = find(read_documents(text).documents[0].root, ("a",))
    assert isinstance(node, YamlText)
    assert block_indent(node, text.split("\n")) == indent


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("peers", 1, "my-asn"), "peers[1].my-asn"),
        ((), ""),
        ((0, "a"), "[0].a"),
        (("metadata", "labels", "a.b/c"), 'metadata.labels["a.b/c"]'),
        (("", "\n"), '[""]["\\n"]'),
        (("a" * 60,), "a" * 60),
        (("a" * 61,), '["' + "a" * 59 + '…"]'),
    ],
)
def test_paths_read_like_code(path: tuple[str | int, ...], text: str) -> None:
    assert path_text(path) == text


def test_shown_text_stays_on_one_line_and_ends() -> None:
    assert shown("a\nb\x1b[31m") == "a\\u000ab\\u001b[31m"
    assert len(shown("x" * 1000)) == 60


@pytest.mark.parametrize(
    ("limits", "fits", "exceeds", "problem"),
    [
        (Limits(depth=3), "[[[]]]", "[[[[]]]]", "more than 3 levels deep"),
        (Limits(depth=3), "- &a [[]]\n- *a", "- &a [[]]\n- [*a]", "more than 3 levels deep"),
        (Limits(nodes=6), "- &a [1, 2]\n- 3\n- 4", "- &a [1, 2]\n- 3\n- *a", "more than 6 values"),
        (Limits(documents=2), "---\na\n---\nb\n", "---\na\n---\nb\n---\nc\n", "more than 2 documents"),
        (Limits(problems=2), "{a: 1, a: 2}", "{a: 1, a: 2, a: 3, a: 4}", "stands twice"),
    ],
)
def test_limits_hold(limits: Limits, fits: str, exceeds: str, problem: str) -> None:
    assert len(read_documents(fits, limits=limits).problems) <= 1
    assert read_documents(exceeds, limits=limits).problems != read_documents(fits, limits=limits).problems
    assert problem in read_documents(exceeds, limits=limits).problems[-1].problem
    assert len(read_documents(exceeds, limits=limits).problems) <= 2


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("a: @b", 1, 'no value can begin with "@"', "quotes"),
        ("a: b: c", 1, 'a second ":" in one line', "quotes"),
        ("a:\n  - b\n c", 3, "fits no map that is open here", "same column"),
        ("- a\nb: 1", 2, "fits no list that is open here", "same column"),
        ("a:\n\tb: 1", 2, "a tab is used to indent", "only spaces"),
        ("a: 'x\nb: 1\n", 2, "the text ends in the middle of something that began in line 1", "cut off"),
        ("a: {b: 1,\n", 1, "the text ends in the middle of something", "cut off"),
        ("%YAML 2.0\n---\na", 1, "incompatible YAML", ""),
    ],
)
def test_syntax_errors_say_what_an_operator_can_do(text: str, line: int, problem: str, hint: str) -> None:
    problems = read_documents(text).problems
    assert [found.line for found in problems] == [line]
    assert problem in problems[0].problem
    assert hint in problems[0].hint


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("a: b: c", (1, 5), 'a second ":"'),
        ("x: 1\na:\n\t- b", (3, 1), "a tab"),
        ('a: "\\q"', (1, 5), "not valid YAML: found unknown escape character"),
        ("a: 1\nb:\n  - c\n d", (4, 2), "not valid YAML: this line fits no map that is open here, while parsing a"),
    ],
)
def test_syntax_errors_point_at_the_character(text: str, place: tuple[int, int], problem: str) -> None:
    found = read_documents(text).problems[0]
    assert (found.line, found.column) == place
    assert problem in found.problem


def test_a_syntax_error_names_the_line_where_the_construct_began() -> None:
    assert read_documents("a: 1\nb:\n  - c\n d").problems[0].problem.endswith("in line 1")
    assert read_documents("x: 1\na: 'b\nc\n\n").problems[0].problem.endswith("that began in line 2")
    assert read_documents("a: 'b").problems[0].problem == "the text ends in the middle of something"


def test_documents_before_a_syntax_error_are_kept() -> None:
    reading = read_documents("a: 1\n---\nb: [\n")
    assert [plain_value(document.root) for document in reading.documents] == [{"a": 1}]
    assert len(reading.problems) == 1


def test_decode_text_gives_text_or_a_problem() -> None:
    assert decode_text(b"\xef\xbb\xbfa\r\nb\rc", file="f", limit=100) == "a\nb\nc"
    found = decode_text(b"a" * 101, file="f", limit=100)
    assert isinstance(found, ConfigProblem)
    assert "is larger than" in found.problem
