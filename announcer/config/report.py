"""What ``lockstep check`` says about a file: for people, and as JSON (``lockstep.check/v1``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from announcer.config.originals import Remark
from announcer.config.parse import ParseResult
from announcer.model.errors import ConfigProblem

SCHEMA = "lockstep.check/v1"


def with_remarks(result: ParseResult, remarks: Sequence[Remark]) -> tuple[ParseResult, tuple[Remark, ...]]:
    """The problems with what an original made of the same place, and the remarks about places without a problem."""
    texts: dict[tuple[int, str], list[str]] = {}
    for remark in remarks:
        texts.setdefault((remark.line, remark.path), []).append(remark.text)
    problems = tuple(_with_texts(problem, texts.get((problem.line, problem.path), ())) for problem in result.problems)
    places = {(problem.line, problem.path) for problem in result.problems}
    alone = tuple(remark for remark in remarks if (remark.line, remark.path) not in places)
    return msgspec.structs.replace(result, problems=problems), alone


def to_text(result: ParseResult, file: str, remarks: Sequence[Remark] = ()) -> str:
    """One paragraph per problem, in the form ``file:line:column: path: problem``, and a last line that sums up.

    Remarks stand between the two, in the same form.
    """
    lines = [line for problem in result.problems for line in _problem_lines(problem)]
    lines += [f"{file}:{remark.line}: {remark.path}: remark: {remark.text}" for remark in remarks]
    count = f", {_count(len(remarks), 'remark')}" if remarks else ""
    lines.append(f"{file}: {_verdict(result)}{count}")
    return "\n".join(lines)


def to_json(result: ParseResult, file: str, remarks: Sequence[Remark] = ()) -> dict[str, Any]:
    """The same as plain values. ``line`` and ``column`` count from 1; 0: the whole file, or the whole line."""
    config = result.config
    return {
        "schema": SCHEMA,
        "file": file,
        "ok": config is not None,
        "problems": [
            {
                "line": problem.line,
                "column": problem.column,
                "path": problem.path,
                "problem": problem.problem,
                "hint": problem.hint,
            }
            for problem in result.problems
        ],
        "remarks": [{"line": one.line, "path": one.path, "text": one.text} for one in remarks],
        "summary": {
            "problems": len(result.problems),
            "remarks": len(remarks),
            "peers": len(config.peers) if config else None,
            "pools": len(config.pools) if config else None,
            "communities": len(config.communities) if config else None,
        },
    }


def _with_texts(problem: ConfigProblem, texts: Sequence[str]) -> ConfigProblem:
    return msgspec.structs.replace(problem, hint=". ".join(filter(None, (problem.hint, *texts))))


def _problem_lines(problem: ConfigProblem) -> list[str]:
    numbers = [str(number) for number in (problem.line, problem.column) if number]
    place = ":".join([problem.file, *numbers])
    first = ": ".join(part for part in (place, problem.path, problem.problem) if part)
    return [first, f"    {problem.hint}"] if problem.hint else [first]


def _verdict(result: ParseResult) -> str:
    if result.config is None:
        return f"not valid, {_count(len(result.problems), 'problem')}"
    config = result.config
    if not config.peers and not config.pools:
        return "valid, but there are neither peers nor pools in it"
    parts = [_count(len(config.peers), "peer"), _count(len(config.pools), "pool")]
    if config.communities:
        parts.append(_count(len(config.communities), "community name"))
    return f"valid: {', '.join(parts)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
