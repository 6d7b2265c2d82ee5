"""The arithmetic of the figures, and the page that shows the last run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, Cluster
from tests.figures.client import Blast
from tests.figures.rows import counted, percentiles
from tests.figures.table import write_table
from tests.figures.transitions import Witness
from tests.lab import until

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "figures.md"


def test_percentiles_are_of_the_samples_and_in_milliseconds() -> None:
    half, high = percentiles("x", [number / 1000 for number in range(1, 101)], targets=(50.0, 99.0))
    assert (half.value, half.ok, half.n, half.spread) == (51.0, False, 100, (1.0, 100.0))
    assert (high.value, high.ok, high.target) == (100.0, False, "<= 99 ms")
    assert percentiles("x", [0.001])[0].ok is None


def test_one_lost_packet_misses_the_target() -> None:
    assert counted("x", 0, 10, control=None).ok is True
    assert counted("x", 1, 10, control=None).ok is False


def test_the_page_has_the_figures_that_are_promised(tmp_path: Path) -> None:
    write_table([counted("x", 0, 10, control="y")], tmp_path / "page", load="0.1")
    assert "| x | 0 | of 10 | 0 to 0 | 1 | 0 met | y |" in (tmp_path / "page").read_text()
    page = _PAGE.read_text()
    for name in ("loss/agent-kill-9", "loss/speaker-kill-9", "loss/agent-upgrade", "tcp-connections-broken"):
        assert name in page
    for name in ("loss/programs-upgrade", "sigstop-60-s", "policy-cluster", "healing/bpffs-unmounted"):
        assert name in page
    for name in ("last-backend-lost-to-route-gone", "event-to-kernel", "kernel-to-route", "announced-without-datapath"):
        assert name in page


@pytest.mark.root
@pytest.mark.lab
def test_the_client_sees_what_is_lost_and_what_is_broken(shared: Cluster) -> None:
    pod = shared.lab.pods[0]
    with Blast(shared.lab.client, VIP, rate=200, connections=40) as blast:
        shared.lab.stop_pod(pod)
        until(lambda: blast.look().broken > 0, "a connection to the pod that ended is broken")
        until(lambda: (seen := blast.look()).lost > seen.sent / 8, "so are datagrams to it, one of four")
        shared.lab.start_pod(pod)


@pytest.mark.root
@pytest.mark.lab
def test_the_witness_finds_out_a_route_without_a_datapath(shared: Cluster) -> None:
    router, node = shared.lab.router, shared.lab.nodes[0]

    @contextlib.contextmanager
    def routed(vip: str) -> Iterator[None]:
        """By another route than the router's own, which is preferred by its metric."""
        route = [f"{vip}/32", "via", node.address, "metric", "1"]
        router.run(["ip", "route", "add", *route])
        yield
        router.run(["ip", "route", "del", *route])

    with Witness(shared) as witness, routed(VIP):
        served = witness.stop()
    with Witness(shared) as witness, routed("203.0.113.77"):
        not_served = witness.stop()
    assert served.at_once > 0
    assert (served.lost, served.dark_ms) == (0, 0.0), served
    assert not_served.at_once > 0
    assert not_served.lost == not_served.sent > 0, not_served
    assert not_served.dark_ms > 0
