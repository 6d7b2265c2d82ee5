"""No input whatsoever raises, nothing takes long, and there is never a refusal without a reason."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from announcer.config import MAX_BYTES, ParseResult, extract, load, parse
from announcer.config.originals import Dialect, inspect
from tests.announcer.config.rules import RULES
from tests.announcer.config.test_extract import MANIFEST
from tests.announcer.config.test_values import FULL

_WORDS = sorted({word.strip(":-[]{},'\"") for rule in RULES for word in (rule.valid + " " + rule.invalid).split()})
_SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(_WORDS)
    | st.dates()
    | st.binary(max_size=8)
)
#: What YAML has beyond maps, lists and words.
_TRICKS = [
    "&a ",
    "*a",
    "<<: *a\n",
    "<<: [*a, *b]",
    "&a [*a]",
    "? ",
    "--- ",
    "...\n",
    "%YAML 1.2\n---\n",
    "%TAG ! tag:x,1:\n",
    "!!binary ",
    "!!python/object/apply:os.system [id]",
    "!<tag:yaml.org,2002:str> ",
    "|+2\n",
    ">-\n",
    "1e999",
    "0x1F",
    "!!set ",
    "0o17",
    "1:20:30",
    ".inf",
    "2001-01-01",
    "~",
    "=",
    "\u2028",
    "\ufeff",
    "9" * 400,
    "\r",
    "\x85",
]
#: Of YAML 1.1 (section 4.2), in UTF-8: the last three end no line in YAML 1.2, but PyYAML counts them.
_LINE_BREAKS = (b"\n", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\xe2\x80\xa9")
_KEYS = st.sampled_from(
    [word for word in _WORDS if "-" in word or word in ("peers", "name", "protocol", "kind", "data")]
)


def _containers(children: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(children, max_size=4) | st.dictionaries(_KEYS | st.text(max_size=4), children, max_size=5)


_STRUCTURES = st.recursive(_SCALARS, _containers, max_leaves=25)


def _holds_its_promise(result: ParseResult, text: str | bytes) -> None:
    assert (result.config is None) == bool(result.problems)
    assert list(result.problems) == sorted(result.problems, key=lambda problem: problem.line)
    data = text.encode(errors="replace") if isinstance(text, str) else text
    lines = sum(map(data.count, _LINE_BREAKS))
    for problem in result.problems:
        assert problem.problem
        assert 0 <= problem.line <= lines + 1
        assert "\n" not in str(problem)
        assert len(str(problem)) < 1000


def _read_in_every_way(text: str | bytes) -> None:
    _holds_its_promise(parse(text, file="f"), text)
    _holds_its_promise(load(text, "f"), text)
    assert (extract(text).text is None) == bool(extract(text).problems)
    for dialect in Dialect:
        for remark in inspect(text, dialect):
            assert remark.text.startswith(dialect)
            assert remark.line > 0
            assert remark.text.isprintable()


@given(st.text() | st.binary())
def test_random_text_and_bytes(text: str | bytes) -> None:
    _read_in_every_way(text)


@given(_STRUCTURES)
@settings(max_examples=300)
def test_random_structures_of_the_words_of_the_dialect(value: Any) -> None:
    _read_in_every_way(yaml.safe_dump(value, allow_unicode=True))


@given(st.sampled_from([FULL, MANIFEST]), st.data())
@settings(max_examples=300)
def test_mutations_of_a_valid_file(text: str, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(st.integers(0, len(text)))
        end = min(len(text), begin + data.draw(st.integers(0, 20)))
        piece = data.draw(
            st.sampled_from(_WORDS)
            | st.sampled_from(_TRICKS)
            | st.text(max_size=3)
            | st.sampled_from(list("\t\n:-[]{}&*!|>'\"%@`#,?"))
        )
        text = text[:begin] + piece + text[end:]
    _read_in_every_way(text)


@given(st.integers(0, len(FULL)))
def test_a_file_that_was_cut_off(length: int) -> None:
    _read_in_every_way(FULL[:length])
    _read_in_every_way(FULL.encode()[:length])


def _alias_bomb() -> str:
    lines = ["a: &a [1,1,1,1,1,1,1,1,1,1]"]
    for name, before in zip("bcdefghijklm", "abcdefghijkl", strict=True):
        lines.append(f"{name}: &{name} [{','.join(['*' + before] * 10)}]")
    return "\n".join(lines)


def _merge_bomb() -> str:
    base = ", ".join(f"k{number}: 1" for number in range(1000))
    return f"a: &a {{{base}}}\nb:\n" + "- {<<: *a}\n" * 50_000


def _ip(number: int) -> str:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _peers(count: int) -> str:
    return "peers:\n" + "".join(
        f"- {{peer-address: {_ip(number)}, peer-asn: 1, my-asn: 1}}\n" for number in range(count)
    )


def _pool(addresses: str, advertisements: str) -> str:
    """One pool, and a key that is wrong after everything else was looked at."""
    head = "address-pools:\n- name: a\n  protocol: bgp\n  addresses:\n"
    return f"{head}{addresses}  bgp-advertisements:\n{advertisements}  - {{localpref: x, aggregation-length: 31}}\n"


_HOSTILE: dict[str, str | bytes] = {
    "5 MB": "x" * 5_000_000,
    "5 MB of bytes": b"\xff" * 5_000_000,
    "lists in lists": "[" * 1_000_000,
    "maps in maps": "{a: " * 250_000,
    "dashes": "- " * 500_000,
    "questions": "? " * 500_000,
    "alias bomb": _alias_bomb(),
    "merge bomb": _merge_bomb(),
    "deep aliases": "a: &a " + "[" * 50 + "]" * 50 + "\nb: &b " + "[" * 50 + "*a" + "]" * 50,
    "unknown keys": "".join(f"key{number}: 1\n" for number in range(80_000)),
    "wrong peers": "peers:\n" + "- {peer: 1}\n" * 80_000,
    "wrong addresses": "address-pools:\n- addresses:\n" + "  - a\n" * 150_000,
    "overlapping ranges": "address-pools:\n- name: a\n  protocol: bgp\n  addresses:\n" + "  - 10.0.0.0/8\n" * 60_000,
    "advertisements times ranges": _pool(
        "".join(f"  - {_ip(2 * number)}/32\n" for number in range(18_000)),
        "".join(f"  - {{aggregation-length: 32, communities: [{number}:1]}}\n" for number in range(9_000)),
    ),
    "advertisements times peers": _peers(6_000)
    + _pool("  - 10.0.0.0/24\n", "".join(f"  - {{peers: [{_ip(number)}], med: 1}}\n" for number in range(6_000))),
    "ranges of many prefixes": _pool(
        "".join(f"  - {number:x}::1-{number:x}:ffff:ffff:ffff:ffff:ffff:ffff:fffe\n" for number in range(1, 15_000)),
        "  - {aggregation-length-v6: 127}\n",
    ),
    "a list of addresses for many pools": "address-pools:\n- name: a\n  addresses: &a\n"
    + "".join(f"  - {_ip(number)}/32\n" for number in range(1_000))
    + "".join(f"- {{name: p{number}, addresses: *a}}\n" for number in range(280)),
    "one long word": "peers: " + "a" * 1_000_000,
    "one long key": "a" * 1_000_000 + ": 1",
    "many documents": "---\na: 1\n" * 100_000,
    "many anchors": "".join(f"- &a{number} x\n" for number in range(80_000)),
    "colons": ":" * 1_000_000,
    "quotes": '"' + "\\u0041" * 170_000,
}


@pytest.mark.parametrize("name", _HOSTILE)
def test_hostile_input_is_refused_quickly(name: str) -> None:
    text = _HOSTILE[name]
    began = time.process_time()
    result = load(text, "f")
    remarks = inspect(text, Dialect.METALLB_0_12)
    spent = time.process_time() - began
    assert len(remarks) <= 200
    _holds_its_promise(result, text)
    assert result.config is None
    assert len(result.problems) <= 201
    # Once through libyaml for each of the two takes about a second together; a quadratic path takes minutes.
    assert spent < 10


@pytest.mark.parametrize("text", ["x" * (MAX_BYTES + 1), b"x" * 5_000_000])
def test_a_file_that_is_too_large_costs_nothing(text: str | bytes) -> None:
    began = time.process_time()
    problems = load(text, "f").problems
    assert time.process_time() - began < 0.05
    assert [str(problem) for problem in problems] == [
        "f: is larger than 1 MiB (1,048,576 bytes), the most that is read (is this the right file?)"
    ]


def test_a_file_of_exactly_the_limit_is_read() -> None:
    assert load("#" * MAX_BYTES).config is not None


@pytest.mark.parametrize(
    ("data", "line", "column", "problem", "hint"),
    [
        (b"peers: []\n# caf\xe9\n", 2, 6, "not UTF-8: byte 0xe9 at offset 15", "save the file as UTF-8"),
        ("peers: []".encode("utf-16"), 1, 1, "not UTF-8: byte 0xff at offset 0", "UTF-16"),
        (b"peers: []\r\n\x00", 2, 1, "U+0000", "remove it"),
        ("a: \ud800", 1, 4, "U+D800", "remove it"),
    ],
)
def test_the_place_of_bytes_that_are_no_text(
    data: str | bytes, line: int, column: int, problem: str, hint: str
) -> None:
    found = load(data).problems[0]
    assert (found.line, found.column) == (line, column)
    assert problem in found.problem
    assert hint in found.hint


def test_windows_line_ends_and_byte_order_mark_change_no_line() -> None:
    text = b"\xef\xbb\xbfpeers: []\r\nfoo: 1\r\n"
    assert [(problem.line, problem.column, problem.path) for problem in load(text).problems] == [(2, 1, "foo")]


def test_a_secret_in_the_file_is_not_quoted() -> None:
    text = "peers: [{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2, password: hunter2}]"
    assert "hunter2" not in "".join(map(str, load(text).problems))
