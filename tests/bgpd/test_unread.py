"""What ExaBGP writes it reports without having read it, and reports the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from exabgp.bgp.message import Update
from exabgp.reactor.protocol import Protocol

from bgpd.overlay import report_unread

#: An UPDATE that withdraws 192.0.2.0/24.
RAW = b"\xff" * 16 + b"\x00\x1b\x02" + b"\x00\x04\x18\xc0\x00\x02\x00\x00"


class Said:
    """A protocol of ExaBGP that sends ``RAW``: what it reported, what it wrote, how often it read it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **wanted: bool) -> None:
        self.reports: list[Any] = []
        self.written: list[bytes] = []
        self.read = 0
        monkeypatch.setattr(Update, "unpack_message", self._unpack)
        processes = SimpleNamespace(
            packets=lambda *what: self.reports.append(what[1:]), message=lambda *_: self.reports.append("parsed")
        )
        made = object.__new__(Protocol)
        api = {f"send-{kind}": wanted.get(kind, False) for kind in ("packets", "parsed", "consolidate", "update")}
        made.neighbor = SimpleNamespace(api=api | {"negotiated": False})
        self.stats: Counter[str] = Counter()
        made.peer = SimpleNamespace(
            stats=self.stats, reactor=SimpleNamespace(processes=processes), neighbor=made.neighbor
        )
        made.negotiated, made.connection = None, SimpleNamespace(writer=self._write)
        assert list(made.send(RAW)) == [False, True]

    def _unpack(self, *_: object) -> Any:
        self.read += 1
        return SimpleNamespace(ID=2)

    def _write(self, raw: bytes) -> Iterator[bool]:
        yield False
        self.written.append(raw)
        yield True


def test_an_update_is_reported_as_its_bytes_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_comes = Said(monkeypatch, packets=True, update=True)
    assert as_it_comes.read == 1, "control"
    monkeypatch.setattr(Protocol, "send", Protocol.send)
    report_unread()
    said = Said(monkeypatch, packets=True, update=True)
    assert said.read == 0
    assert said.reports == as_it_comes.reports == [("send", 2, None, RAW[:19], RAW[19:])]
    assert (said.written, said.stats) == (as_it_comes.written, as_it_comes.stats) == ([RAW], {"send-update": 1})


@pytest.mark.parametrize("kind", ["parsed", "consolidate"])
def test_who_asks_for_more_gets_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(Protocol, "send", Protocol.send)
    report_unread()
    said = Said(monkeypatch, update=True, **{kind: True})
    assert (said.read, said.reports, said.written) == (1, ["parsed"], [RAW])


def test_what_nobody_asks_for_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Protocol, "send", Protocol.send)
    report_unread()
    said = Said(monkeypatch, packets=True)
    assert (said.read, said.reports, said.written) == (0, [], [RAW])
