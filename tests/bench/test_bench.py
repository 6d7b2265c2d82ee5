"""The benchmark itself: it computes what it says, and refuses to time packets that did not end as they should."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from datapath import shim
from datapath.settle import INGRESS
from tests.bench import agent, forwarding, own_core, packets, routes, scale, tables, way
from tests.bench.chart import line_chart
from tests.bench.report import figure, publish, row
from tests.bench.table import markdown
from tests.bench.under_test import Forwarders, compiled
from tests.datapath.node import SMALL, Node


def test_a_ratio_is_taken_round_by_round() -> None:
    made = row("x", [10.0, 40.0, 30.0], "ns", reference=[20.0, 40.0, 10.0], at_most=1.0)
    assert (made.value, made.spread, made.n, made.ratio) == (30.0, (10.0, 40.0), 3, {"reference": 1.0})
    assert made.ok is True
    assert row("x", [10.0], "ns", reference=[5.0], at_most=1.9).ok is False
    assert row("x", [10.0], "ns").ok is None


def test_a_figure_is_held_to_its_target() -> None:
    made = figure("x", [4.0, 6.0, 5.0], "routes/s", at_least=5)
    assert (made.value, made.spread, made.n, made.target, made.ok) == (5.0, (4.0, 6.0), 3, ">= 5", True)
    assert figure("x", [5.1], "ms", n=300, at_most=5).ok is False
    assert (figure("x", [5.1], "MB").ok, figure("x", [5.1], "MB").target) == (None, None)


def test_many_services_are_held_against_one() -> None:
    ratios = {"dsr/x": 2.0, "dsr/x/9-services": 3.0, "dsr/y/9-services": 7.0, "local/x": 1.0, "local/x/9-services": 5.0}
    made = packets.against_one([row(name, [r], "ns", reference=[1.0]) for name, r in ratios.items()], 9)
    assert [(each.name, each.value, each.ok) for each in made] == [("dsr/x/9-services-against-1", 1.5, False)]


def test_figures_have_the_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish([row("dsr", [1.0, 2.0, 3.0], "ns")], tmp_path / "bench.json", "title")
    made = json.loads((tmp_path / "bench.json").read_text())
    assert made["schema"] == "lockstep.figures/v1"
    assert made["rows"][0]["spread"] == [1.0, 3.0]
    assert "dsr" in capsys.readouterr().out


@pytest.mark.root
def test_packets_are_checked_as_they_are_timed(node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packets, "REPEAT", 1 << 14)
    monkeypatch.setattr(packets, "ROUNDS", 2)
    datapath = node.attached(msgspec.structs.replace(SMALL, decaps=32))
    packets.program(datapath, range(2))
    forwarders = Forwarders(tmp_path, socket.if_nametoindex("eth0"))
    packets.teach(forwarders, datapath)
    packets.shorten(datapath)
    ours = shim.get(node.bpffs / "progs" / INGRESS)
    assert ours is not None
    to = node.link().address
    for case in [*packets.cases(1), *packets.cases(2)]:
        assert packets.measure(case, ours, forwarders, to, datapath).n == packets.ROUNDS
    for made in packets.measure_replies(ours, forwarders, to, datapath, node.link().ifindex):
        assert made.n == packets.ROUNDS
    with pytest.raises(AssertionError, match="verdict 2 instead of 3"):  # nobody has these ports any more
        packets.measure(
            msgspec.structs.replace(packets.cases(1)[0], replies=True, flows=1024), ours, forwarders, to, datapath
        )
    wrong = msgspec.structs.replace(packets.cases(1)[0], port=packets.UNSERVED_PORT)
    with pytest.raises(AssertionError, match="verdict 1 instead of 3"):
        packets.measure(wrong, ours, forwarders, to, datapath)
    with pytest.raises(AssertionError, match="no outer header"):
        packets.measure(packets.cases(1)[0], forwarders.nothing, forwarders, to, datapath)


@pytest.mark.root
def test_packets_are_forwarded_by_every_way_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a laboratory of one CPU, and in one where the node has a CPU to itself."""
    monkeypatch.setattr(way, "PACKETS", 1 << 12)
    monkeypatch.setattr(own_core, "TURNS", 1 << 14)
    monkeypatch.setattr(forwarding, "ROUNDS", 2)
    rows = {row.name: row for row in forwarding.bench(tmp_path, services=(3,))}
    for group in ("forward", "forward-own-core"):
        made = rows[f"{group}/dsr/ipv4/65536-flows/3-services"]
        assert made.ratio.keys() == {"plain", "nftables", "iptables"}
        assert rows[f"{group}/bounce/ipv4/65536-flows/3-services"].ratio.keys() == made.ratio.keys()
        assert all(ratio > 0 for ratio in made.ratio.values())


@pytest.mark.root
def test_packets_that_do_not_come_back_are_no_figure(tmp_path: Path) -> None:
    made = way.Way(compiled("traffic.bpf.c", tmp_path), packets.IPV4.vip)
    try:
        with pytest.raises(AssertionError, match="0 of 64 packets came back"):
            made.nanoseconds(flows=1, services=0, packets=64, within=0.3)
        cpus = sorted(os.sched_getaffinity(0))
        core = own_core.OwnCore(made, node_cpu=cpus[-1], other_cpu=cpus[0])
        with pytest.raises(AssertionError, match=f"all of {own_core.WINDOW} packets come back"):
            core.nanoseconds(flows=1, services=0, within=0.3)
    finally:
        made.close()


@pytest.mark.root
def test_routes_are_counted_where_they_arrive(tmp_path: Path) -> None:
    rows = {row.name: row for row in routes.bench(tmp_path, routes=300, rounds=2, changes=20)}
    assert rows["bgp/300-routes-to-2-peers/announced"].n == 2 * 2
    assert rows["bgp/change-to-update/p50"].n == 20
    assert 0 < rows["bgp/change-to-update/p50"].value <= rows["bgp/change-to-update/p99"].value
    assert all(row.value > 0 for row in rows.values())


@pytest.mark.root
def test_tables_are_programmed_and_changed() -> None:
    rows = {row.name.rpartition("backends/")[2]: row for row in tables.bench(services=40, backends=1000, changes=50)}
    assert rows["one-change/p99"].n == 50
    assert 0 < rows["one-change/p50"].value <= rows["one-change/p99"].value
    assert all(row.value >= 0 for row in rows.values())
    assert rows["from-nothing"].target == "<= 5"


@pytest.mark.lab
def test_an_idle_agent_is_watched(tmp_path: Path) -> None:
    made = agent.bench(tmp_path, services=30, backends=90, settle=0.0, watch=2.0)
    rows = {row.name.rpartition("backends/")[2]: row for row in made}
    whole, parts = rows["idle"].value, [rows[f"idle/{who}"].value for who in ("agent", "speaker", "exabgp")]
    assert 0 < whole == pytest.approx(sum(parts), abs=0.02)
    assert rows["memory"].value >= rows["memory/agent"].value > 10
    assert rows["idle"].target == "<= 1"


def test_a_chart_has_its_points_where_they_belong() -> None:
    made = line_chart("t", "services", "R", {"a<b": [(1, 0.0), (100, 10.0)]}, limit=5.0)
    svg = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(made)
    circles = [(float(c.attrib["cx"]), float(c.attrib["cy"])) for c in root.iter(f"{svg}circle")]
    (left, bottom), (right, top) = circles
    assert left < right
    assert bottom > top
    (dashed,) = (line for line in root.iter(f"{svg}line") if "stroke-dasharray" in line.attrib)
    assert float(dashed.attrib["y1"]) == (bottom + top) / 2
    assert "a<b" in [text.text for text in root.iter(f"{svg}text")]
    with pytest.raises(ValueError, match="above 0"):
        line_chart("t", "x", "y", {"a": [(0, 1.0)]})


def test_what_is_published_can_be_drawn_again(tmp_path: Path) -> None:
    """The charts in docs/performance are those of the data beside them."""
    data = msgspec.json.decode((scale.FOLDER / "scale.json").read_bytes(), type=scale.Scale)
    for path in scale.draw(data, tmp_path):
        assert path.read_text() == (scale.FOLDER / path.name).read_text(), path.name


def test_a_table_of_the_documentation_says_what_was_met() -> None:
    rows = [row("a/x", [1.0, 2.0], "ns", reference=[1.0, 1.0], at_most=1.0), figure("b/y", [3.0], "s", at_least=2)]
    first, second = markdown(rows).split("\n\n")
    assert "| a/x | 1.5 | ns | 1 to 2 | 2 | 1.50 R | <= 1 reference **missed** |" in first
    assert "| b/y | 3 | s |  | 1 |  | >= 2 met |" in second
