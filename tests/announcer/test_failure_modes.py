"""The table of failure modes is held to the tests that it names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "failure-modes.md").read_text()
_ROWS = re.findall(r"^\| (\d+) \| (.+?) \| (.+?) \| (.+) \|$", _PAGE, re.MULTILINE)


def _tests() -> set[str]:
    found = set()
    for path in (_ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(node.name)
    return found


def test_all_22_faults_have_a_row_with_tests() -> None:
    assert [int(number) for number, *_ in _ROWS] == list(range(1, 23))
    assert all(re.search(r"`test_\w+`", tests) for *_, tests in _ROWS)


def test_every_test_that_the_page_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", _PAGE))
    assert named - _tests() == set()


def test_faults_of_sessions_and_packets_have_a_control() -> None:
    """A test that cannot fail proves nothing: those that say "nothing was lost" show elsewhere that it could be."""
    for number, *_, tests in _ROWS:
        if int(number) in (1, 2, 13, 15, 16):
            assert "control: `test_" in tests, number
