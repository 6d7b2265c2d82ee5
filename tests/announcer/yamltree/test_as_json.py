"""JSON read the short way is what the tree makes of it, or is left to the tree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.yamltree import Limits, PlainDocument, decode_text, plain_value, read_documents, read_json

_WORDS = st.one_of(
    st.text(max_size=8), st.sampled_from(["<<", "null", "1", "no", "---", "# x", "a: b", "\\", '"', "\u2028"])
)
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _WORDS)
_VALUES = st.recursive(
    _LEAVES,
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_WORDS, below, max_size=3)),
    max_leaves=8,
)
_SPACES = st.sampled_from([(None, None), (2, None), (None, (",", ":")), ("\t", None)])


def by_the_tree(text: str) -> list[PlainDocument] | None:
    reading = read_documents(text)
    if reading.problems:
        return None
    return [PlainDocument(plain_value(document.root), document.root.line) for document in reading.documents]


@given(
    st.lists(st.tuples(_VALUES, _SPACES, st.booleans()), min_size=1, max_size=3),
    st.sampled_from(["\n---\n", "\n\n---\n \n"]),
)
def test_what_is_read_is_what_the_tree_has(documents: list[tuple[Any, Any, bool]], separator: str) -> None:
    written = [
        json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only)
        for value, (indent, separators), ascii_only in documents
    ]
    text = decode_text(separator.join(written).encode("utf-8", "replace"), file="", limit=1 << 20)
    assert isinstance(text, str) or text.problem
    if isinstance(text, str):
        found = read_json(text)
        if found is not None:
            # A null alone is no document to the tree, and no manifest.
            assert [one for one in found if one.value is not None] == by_the_tree(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": "x\\n", "b": [1, -2, true, null, "é"]}',
        '{"a":1}\n---\n\n{"b": {}}\n---\n',
        '---\n{"a": "say \\"x\\" and \\\\"}',
        '{\n  "a": [\n    1\n  ]\n}\n',
        "",
        "\n",
    ],
)
def test_common_texts_go_the_short_way(text: str) -> None:
    found = read_json(text)
    assert found is not None
    assert found == by_the_tree(text)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1",
        '{"a": 1, "a": 2}',
        '{"a": 1}\n---\nb: 2',
        '{"a": 1} # one',
        '{"a":\t1}',
        '{"a"\n: 1}',
        '{"a": "\\u0041"}',
        '{"a": "\\/"}',
        '{"a": "x\u2028y"}',
        '{"a": 1.5}',
        '{"a": NaN}',
        '{"a": 123456789012345678901}',
        '{"' + "a" * 1100 + '": 1}',
        '{"a": 1}{"b": 2}',
        "[" * 5000,
    ],
)
def test_what_is_not_plain_json_is_left_to_the_tree(text: str) -> None:
    assert read_json(text) is None


def test_limits_hold() -> None:
    assert read_json('{"a": [1, 2]}', Limits(nodes=3)) is None
    assert read_json("{}\n---\n{}", Limits(documents=1)) is None
