"""Health-check node ports over real sockets: the answers that load balancers get, and a port that is taken."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from announcer.decide import decide
from announcer.model.desired import Desired
from announcer.model.lb import DeviceObserved, Hook, Proof
from announcer.model.net import IPAddress
from announcer.model.observed import DatapathObserved, Observed
from announcer.run.health_ports import HealthPorts
from announcer.run.news import News
from announcer.status.health import WEIGHT_HEADER
from announcer.status.sight import Sight
from tests.announcer.build import endpoints, ip, node, service, snapshot
from tests.lab import until

VIP = ip("203.0.113.1")
ETH0 = DeviceObserved(name="eth0", ifindex=2, hook=Hook.XDP_NATIVE, attached=True)


class Answer(NamedTuple):
    status: int
    weight: str | None
    body: dict[str, object]


class Rig:
    """The ports of an agent that sees what the test says."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.proof: Proof | None = Proof(ok=True, at=0.0)
        self.desired = self.decided()
        self.ports = HealthPorts(self._look)

    def decided(self, *, ready: bool = True, local: bool = True, drain: str = "") -> Desired:
        web = service(local=local, health_check_node_port=self.port)
        return decide(snapshot(node(), web, endpoints("web", "10.244.1.10", "10.244.1.11", ready=ready), drain=drain))

    def _look(self) -> Sight:
        proofs: dict[IPAddress, Proof] = {VIP: self.proof} if self.proof else {}
        seen = Observed(datapath=DatapathObserved(devices={"eth0": ETH0}), proofs=proofs)
        return Sight(
            snapshot=snapshot(),
            desired=self.desired,
            observed=seen,
            now=0.0,
            wall=0.0,
            closed_ports=self.ports.problems,
        )

    async def ask(self, host: str = "127.0.0.1") -> Answer:
        return await asyncio.to_thread(_ask, host, self.port)

    async def ask_until_served(self) -> int:
        """The status, as soon as a place among the connections is free."""
        answer = await asyncio.to_thread(until, self._try, "a place is free")
        assert answer is not None
        return answer.status

    def _try(self) -> Answer | None:
        try:
            return _ask("127.0.0.1", self.port)
        except (http.client.HTTPException, ConnectionError):
            return None


def _ask(host: str, port: int) -> Answer:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    found = Answer(response.status, response.headers[WEIGHT_HEADER], json.loads(response.read()))
    connection.close()
    return found


@contextmanager
def free_port() -> Iterator[int]:
    with socket.create_server(("0.0.0.0", 0)) as server:
        port: int = server.getsockname()[1]
    yield port


def test_the_answer_follows_endpoints_drain_and_proof() -> None:
    async def scenario(port: int) -> None:
        rig = Rig(port)
        decided = News()
        following = asyncio.ensure_future(rig.ports.follow(lambda: rig.desired.health_checks, decided))
        await _until(lambda: _listens(port))
        web = {"namespace": "default", "name": "web"}
        well = {"service": web, "localEndpoints": 2, "serviceProxyHealthy": True}
        assert await rig.ask() == Answer(200, "2", well)
        if socket.has_dualstack_ipv6():
            assert await rig.ask("::1") == Answer(200, "2", well)
        rig.desired = rig.decided(ready=False)
        none = {**well, "localEndpoints": 0, "reason": "noLocalEndpoints"}
        assert await rig.ask() == Answer(503, "0", none)
        rig.desired = rig.decided(drain="lockstep drain")
        assert await rig.ask() == Answer(503, "0", {**well, "reason": "nodeDraining"})
        rig.desired, rig.proof = rig.decided(), Proof(ok=False, at=0.0, problem="x")
        assert await rig.ask() == Answer(503, "0", {**well, "serviceProxyHealthy": False, "reason": "notProven"})
        rig.desired = rig.decided(local=False)
        decided.tell()
        await _until(lambda: not _listens(port))
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    with free_port() as port:
        asyncio.run(asyncio.wait_for(scenario(port), 30))


def test_a_port_that_is_taken_is_reported_and_had_later() -> None:
    async def scenario() -> None:
        taken = socket.create_server(("0.0.0.0", 0))
        rig = Rig(taken.getsockname()[1])
        await rig.ports.settle(rig.desired.health_checks)
        assert list(rig.ports.problems) == [rig.port]
        assert "in use" in rig.ports.problems[rig.port]
        taken.close()
        rig.ports._retry_at[rig.port] = 0.0
        await rig.ports.settle(rig.desired.health_checks)
        assert rig.ports.problems == {}
        assert (await rig.ask()).status == 200
        await rig.ports.settle(())
        assert not _listens(rig.port)

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_idle_connections_of_strangers_do_not_pile_up() -> None:
    async def scenario(port: int) -> None:
        rig = Rig(port)
        await rig.ports.settle(rig.desired.health_checks)
        crowd = [socket.create_connection(("127.0.0.1", port)) for _ in range(64)]
        with socket.create_connection(("127.0.0.1", port), timeout=10) as one_more:
            assert await asyncio.to_thread(one_more.recv, 1) == b""
        for each in crowd:
            each.close()
        assert await rig.ask_until_served() == 200
        await rig.ports.settle(())

    with free_port() as port:
        asyncio.run(asyncio.wait_for(scenario(port), 30))


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def _until(check: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, check, "the ports settle")
