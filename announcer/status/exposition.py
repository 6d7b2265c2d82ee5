"""Metrics in the text format of Prometheus, bit by bit.

The library writes a registry in one go, which with a series for each of 10,000 VIPs takes a good part of a second. So
families come one by one, and long ones are written here, in the same words.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from announcer.status.pieces import Work, each

#: So many samples the library may write at once.
_FEW = 64


class _One(Collector):
    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


def exposition(families: Iterable[Metric | None], registries: Iterable[CollectorRegistry]) -> Work[bytes]:
    """All ``families``, then what is counted in ``registries``. A family that is None is a place to stop at."""
    parts: list[bytes] = []
    for family in families:
        yield
        if family is not None:
            parts.extend((yield from _family(family)))
    parts.extend(map(generate_latest, registries))
    return b"".join(parts)


def _family(family: Metric) -> Work[list[bytes]]:
    if family.type != "gauge" or len(family.samples) <= _FEW:
        return [generate_latest(_One(family))]
    head = Metric(family.name, family.documentation, family.type)
    lines = yield from each(family.samples, _line)
    return [generate_latest(_One(head)), "".join(lines).encode()]


def _line(sample: Sample) -> str:
    labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(sample.labels.items()))
    value = floatToGoString(sample.value)  # type: ignore[no-untyped-call]
    return f"{sample.name}{{{labels}}} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
