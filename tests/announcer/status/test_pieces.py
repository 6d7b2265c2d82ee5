"""Long answers let the loop go on in between, and are the same for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from announcer.decide import decide
from announcer.model.bgp import PeerObserved, PeerState, RibEntry
from announcer.model.lb import Proof
from announcer.model.observed import BgpObserved, DatapathObserved, Observed
from announcer.status import page, report, routes
from announcer.status.endpoint import Endpoint
from announcer.status.exposition import exposition
from announcer.status.http import Request, json_response
from announcer.status.metrics import families
from announcer.status.pieces import Work, at_once, bit_by_bit, each, encoded
from announcer.status.sight import Sight
from tests.announcer.build import CONFIG, endpoints, node, service, snapshot

#: Enough that what is done for each can be told from what is done once.
VIPS = 500


@pytest.fixture(scope="module")
def moment() -> Sight:
    """Many VIPs, all of them announced."""
    objects = [
        one
        for number in range(VIPS)
        for one in (
            service(f"web-{number}", vip=str(IPv4Address("198.18.0.0") + number)),
            endpoints(f"web-{number}", str(IPv4Address("10.0.0.0") + number)),
        )
    ]
    seen = snapshot(node(), *objects, config_text=CONFIG.replace("203.0.113.0/28", "198.18.0.0/16"))
    wish = decide(seen)
    (name,) = wish.neighbors
    rib = {nlri: RibEntry(route=one.route, acknowledged=True, sent=True) for nlri, one in wish.rib[name].items()}
    peer = PeerObserved(neighbor=wish.neighbors[name], state=PeerState.ESTABLISHED, rib=rib)
    known = Observed(
        datapath=DatapathObserved(frontends=wish.frontends),
        bgp=BgpObserved(reachable=True, peers={name: peer}),
        proofs={vip: Proof(ok=True, at=1.0, since=1.0) for vip in wish.vips},
    )
    return Sight(snapshot=seen, desired=wish, observed=known, now=2.0, wall=0.0)


class Nothing:
    def trace(self, query: Mapping[str, str]) -> dict[str, Any]:
        raise AssertionError("nobody asks")


ANSWERS: dict[str, Callable[[Sight], Work[Any]]] = {
    "status": report.status_bit_by_bit,
    "vips": report.vips_alone,
    "routes": routes.routes,
    "page": page.render,
    "metrics": lambda sight: exposition(families(sight, aliases=True), ()),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_about_all_vips_stops_in_proportion_to_their_number(name: str, moment: Sight) -> None:
    work, stops = ANSWERS[name](moment), 0
    try:
        while True:
            next(work)
            stops += 1
    except StopIteration:
        assert stops >= VIPS // 40


def test_metrics_stop_at_every_vip_that_they_look_at(moment: Sight) -> None:
    assert sum(family is None for family in families(moment)) >= 2 * VIPS, "its routes, its proof"
    assert sum(family is None for family in families(moment, aliases=True)) >= 3 * VIPS


def test_the_loop_goes_on_while_an_answer_is_made(moment: Sight) -> None:
    """With a clock that says at every stop that it is time."""

    async def main() -> tuple[int, Any]:
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        ticks = iter(range(1_000_000))
        answer = await bit_by_bit(report.status_bit_by_bit(moment), clock=lambda: float(next(ticks)))
        task.cancel()
        return turns, answer

    turns, answer = asyncio.run(main())
    assert turns >= VIPS // 40
    assert answer == report.status(moment)
    assert len(answer["vips"]) == VIPS


def test_there_is_no_pause_while_it_is_not_time() -> None:
    async def main() -> tuple[list[int], list[str]]:
        turns: list[str] = []
        asyncio.get_running_loop().call_soon(turns.append, "the loop went on")
        return await bit_by_bit(each(range(100), lambda item: item), clock=lambda: 0.0), list(turns)

    assert asyncio.run(main()) == (list(range(100)), [])


@pytest.mark.parametrize("path", ["/v1/status", "/v1/vips", "/v1/peers", "/v1/routes", "/metrics", "/", "/v1/plan"])
def test_the_endpoint_answers(path: str, moment: Sight) -> None:
    endpoint = Endpoint(lambda: moment, Nothing(), ())
    method, body = ("POST", CONFIG.encode()) if path == "/v1/plan" else ("GET", b"")
    answer = asyncio.run(endpoint.handle(Request(method, path, {}, body)))
    assert answer.status == 200
    assert answer.body.count(b"198.18.1.") >= 200 or path in ("/v1/peers", "/v1/plan")
    if path == "/v1/status":
        assert answer.body == json.dumps(report.status(moment), indent=2).encode() + b"\n"


def test_what_is_encoded_bit_by_bit_is_the_same() -> None:
    value = {"a": [{"b": number, "c": None} for number in range(100)], "d": [[1, 2], {"e": ["é"] * 40}], "f": True}
    answer = json_response(at_once(encoded(value)))
    assert answer.body == msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
    assert json.loads(answer.body) == value


class Families(Collector):
    def __init__(self, *found: Metric) -> None:
        self._found = found

    def collect(self) -> tuple[Metric, ...]:
        return self._found


def test_the_words_are_those_of_the_library() -> None:
    long = GaugeMetricFamily("long", "Of \\ many\nlines", labels=["vip", "b"])
    values = (0.0, 1.5, -1.0, 1e6, 12345678.25, float("inf"), float("-inf"), float("nan"), 1e-9)
    for number in range(300):
        long.add_metric([f'198.18.0.{number} "\\\n é', "x"], values[number % len(values)])
    short = GaugeMetricFamily("short", "One", value=1)
    counted = CollectorRegistry()
    Counter("counted", "Some", registry=counted)
    found = at_once(exposition([long, None, short], [counted]))
    assert found == generate_latest(Families(long, short)) + generate_latest(counted)
