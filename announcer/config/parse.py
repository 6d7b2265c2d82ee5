"""``parse``: the text of a bgp-config to a :class:`Config`, or to everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from announcer.config.attributes import Known
from announcer.config.bfd import read_bfd_profiles
from announcer.config.communities import read_communities
from announcer.config.drain import read_drain
from announcer.config.peers import read_peers
from announcer.config.pod_cidrs import read_pod_cidrs
from announcer.config.pools import read_pools
from announcer.config.secrets import conceal, secret_values
from announcer.config.types import Config
from announcer.config.walk import At, Keys, Problems
from announcer.model.errors import ConfigProblem
from announcer.yamltree import Document, Limits, Reading, decode_text, read_documents

#: A ConfigMap holds at most 1 MiB (https://kubernetes.io/docs/concepts/configuration/configmap/).
MAX_BYTES = 1 << 20

#: A bgp-config of 1 MiB has fewer values than this unless aliases multiply them.
LIMITS = Limits(nodes=300_000, documents=100)

KEYS = Keys(
    served=("peers", "address-pools", "bgp-communities", "bfd-profiles", "pod-cidrs", "drain"),
)


class ParseResult(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration, or what is wrong: ``config`` is None exactly if there are problems, which are sorted by line."""

    config: Config | None
    problems: tuple[ConfigProblem, ...] = ()


def refused(problems: Iterable[ConfigProblem]) -> ParseResult:
    """The result for a text with these problems: in the order of lines, each once."""
    return ParseResult(config=None, problems=tuple(sorted(set(problems), key=_order)))


def parse(text: str | bytes, *, file: str = "", line_offset: int = 0, column_offset: int = 0) -> ParseResult:
    """Read a bgp-config. Never raises for what the text says.

    ``file`` is only named in problems. ``line_offset`` and ``column_offset`` are added to every place, for a text that
    is part of a larger file.
    """
    result = _parse(text, file)
    if result.config is not None or not (line_offset or column_offset):
        return result
    return refused(_moved(problem, line_offset, column_offset) for problem in result.problems)


def read_yaml(text: str, file: str) -> Reading:
    """The documents of a text that is small enough, with problems that quote no secret."""
    reading = read_documents(text, file=file, limits=LIMITS)
    lines = text.split("\n")
    return Reading(reading.documents, tuple(conceal(problem, lines) for problem in reading.problems))


def _parse(data: str | bytes, file: str) -> ParseResult:
    text = decode_text(data, file=file, limit=MAX_BYTES)
    if isinstance(text, ConfigProblem):
        return refused([text])
    return parse_reading(read_yaml(text, file), file)


def parse_reading(reading: Reading, file: str) -> ParseResult:
    """The same for YAML that was read already, by :func:`read_yaml`."""
    secrets = secret_values(reading.documents[0].root) if reading.documents else frozenset()
    problems = Problems(file, secrets)
    problems.found.extend(reading.problems)
    if len(reading.documents) > 1:
        second = reading.documents[1].root
        problems.add(second, (), "a second YAML document begins here", "a bgp-config is one document; remove the ---")
    config = _config(reading.documents[0], problems) if reading.documents else Config()
    if problems.full:
        last = problems.found[-1]
        more = ConfigProblem(file=file, line=last.line, problem="more problems follow; mend these first")
        problems.found.append(more)
    return refused(problems.found) if problems.found else ParseResult(config=config)


def _config(document: Document, problems: Problems) -> Config:
    fields = At(document.root, (), problems).fields(KEYS)
    if fields is None:
        return Config()
    aliases = read_communities(fields.at("bgp-communities"))
    peers, names = read_peers(fields.at("peers"), read_bfd_profiles(fields.at("bfd-profiles")))
    known = Known(aliases, names)
    return Config(
        peers=peers,
        pools=read_pools(fields.at("address-pools"), known),
        communities={name: value for name, value in aliases.items() if value is not None},
        pod_cidrs=read_pod_cidrs(fields.at("pod-cidrs"), known),
        drain=read_drain(fields.at("drain")),
    )


def _moved(problem: ConfigProblem, lines: int, columns: int) -> ConfigProblem:
    return msgspec.structs.replace(
        problem,
        line=problem.line + lines if problem.line else 0,
        column=problem.column + columns if problem.column else 0,
    )


def _order(problem: ConfigProblem) -> tuple[int, int, str, str]:
    return problem.line, problem.column, problem.path, problem.problem
