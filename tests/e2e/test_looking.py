"""A cluster that works: what the router, the client and the status endpoint say of it."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, frontends_in_kernel
from tests.lab import send, until

pytestmark = [pytest.mark.root, pytest.mark.lab]


def test_requests_reach_every_backend_and_all_succeed(shared: Cluster) -> None:
    traffic = send(shared.lab.client, f"{VIP}:80", count=400)
    assert (traffic.ok, traffic.failed) == (400, 0), traffic
    assert set(traffic.backends) == {"n1p1", "n1p2", "n2p1", "n2p2"}
    assert all(count > 40 for count in traffic.backends.values()), "Maglev spreads evenly"
    assert set(traffic.clients) == {"198.51.100.10"}, "backends see the client's own address"


def test_datagrams_reach_every_backend_and_all_are_answered(shared: Cluster) -> None:
    traffic = send(shared.lab.client, f"{VIP}:53", count=200, protocol="udp")
    assert (traffic.ok, traffic.failed) == (200, 0), traffic
    assert set(traffic.backends) == {"n1p1", "n1p2", "n2p1", "n2p2"}


def test_the_router_holds_what_lockstep_says_it_sent(shared: Cluster) -> None:
    rib = shared.lab.router.rib()
    assert set(rib) == {"10.244.1.0/24", "10.244.2.0/24", VIP_ROUTE}
    for agent in shared.agents:
        (peer,) = agent.routes()["peers"]
        assert peer["state"] == "Established"
        for route in peer["routes"]:
            assert route["desired"]
            assert route["acknowledged"]
            assert route["sent"]
            (path,) = [path for path in rib[route["prefix"]] if path.next_hop == agent.node.address]
            assert path.local_pref == 100, "an absent localpref must not become 0"
            assert path.communities == ()


def test_a_packet_to_a_port_that_nothing_serves_is_dropped_once_and_counted(shared: Cluster) -> None:
    """Without that it would go back to the router, which sends it here again, until its TTL is used up."""

    def dropped() -> int:
        return sum(agent.status()["datapath"]["packets"]["no_service"] for agent in shared.agents)

    before = dropped()
    traffic = send(shared.lab.client, f"{VIP}:81", count=5, concurrency=5, timeout=0.3)
    assert traffic.failed == 5
    until(lambda: dropped() - before >= 5, "five packets counted as no_service")
    assert dropped() - before <= 15, "SYNs are retried, but not one of them goes round in circles"


def test_status_is_as_the_contract_says(shared: Cluster) -> None:
    seen = shared.agents[0].status()
    assert seen["schema"] == "lockstep.status/v1"
    assert seen["node"] == "n1"
    assert seen["config"] == {"state": "applied", "errors": []}
    assert seen["sources"]["synced"] is True
    (peer,) = seen["peers"]
    assert (peer["name"], peer["asn"], peer["local_asn"], peer["state"]) == (
        "192.168.1.11",
        64512,
        64512,
        "Established",
    )
    assert peer["routes"] == {"desired": 2, "acknowledged": 2, "sent": 2}
    (vip,) = seen["vips"]
    assert vip["services"] == ["default/web"]
    assert (vip["vip"], vip["state"], vip["reason"]) == (VIP, "Announced", None)
    assert vip["backends"] == {"total": 4, "serving": 4, "local": 2}
    assert vip["proof"]["ok"] is True
    assert vip["proof"]["age_seconds"] < 5
    assert vip["peers"] == ["192.168.1.11"]
    assert [(pod["prefix"], pod["state"]) for pod in seen["pod_cidrs"]] == [("10.244.1.0/24", "Announced")]
    (device,) = seen["datapath"]["devices"]
    assert (device["name"], device["hook"]) == ("eth0", "xdp-native")
    assert seen["datapath"]["frontends"] == 2
    assert seen["datapath"]["maps"]["lb_backends"]["max"] == 262144
    assert seen["consistency"]["violations"] == 0


def _get(shared: Cluster, path: str) -> tuple[int, str]:
    """Ask the endpoint on the node's loopback, as a probe of the kubelet does."""
    code = (
        "import http.client,sys\n"
        "c=http.client.HTTPConnection('127.0.0.1',9797,timeout=5)\n"
        f"c.request('GET',{path!r});r=c.getresponse();print(r.status);print(r.read().decode())"
    )
    done = shared.lab.nodes[0].run(["python3", "-c", code])
    status, _, body = done.stdout.partition("\n")
    return int(status), body


def test_health_and_metrics_on_loopback(shared: Cluster) -> None:
    assert _get(shared, "/healthz") == (200, "ok\n\n")
    assert _get(shared, "/readyz") == (200, "ok\n\n")
    status, metrics = _get(shared, "/metrics")
    assert status == 200
    for line in (
        'lockstep_bgp_session_up{peer="192.168.1.11"} 1.0',
        'lockstep_bgp_announced_prefixes{peer="192.168.1.11"} 2.0',
        'lockstep_bgp_pending_prefixes{peer="192.168.1.11"} 0.0',
        "lockstep_config_loaded 1.0",
        "lockstep_config_stale 0.0",
        "lockstep_consistency_violations 0.0",
        "lockstep_source_stale_seconds 0.0",
        'lockstep_datapath_map_used{map="lb_frontends"} 2.0',
        "lockstep_announce_latency_seconds_count 1.0",
        "lockstep_program_latency_seconds_count 1.0",
    ):
        assert line in metrics.splitlines(), line
    assert 'lockstep_vip_proof_age_seconds{vip="203.0.113.10"}' in metrics
    assert 'lockstep_bgp_updates_total{peer="192.168.1.11"}' in metrics
    assert 'lockstep_datapath_packets_total{verdict="local"}' in metrics
    assert _get(shared, "/nothing")[0] == 404
    assert "Lockstep on n1" in _get(shared, "/")[1]


def test_nothing_but_loopback_and_bgp_listens(shared: Cluster) -> None:
    """A management port on a node's address is how others were taken over."""
    done = shared.lab.nodes[0].run(["ss", "--no-header", "--listening", "--tcp", "--udp", "--numeric"])
    addresses = {line.split()[4] for line in done.stdout.splitlines()}
    assert addresses == {"127.0.0.1:9797"}
    assert (shared.agents[0].state_dir / "status.sock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("status",), 0),
        (("explain", VIP), 0),
        (("explain", "default/web"), 0),
        (("explain", "web"), 0),
        (("explain", "203.0.113.11"), 1),
        (("explain", "default/other"), 1),
        (("routes",), 0),
        (("routes", "--peer", "192.168.1.11"), 0),
        (("routes", "--peer", "10.9.9.9"), 2),
        (("trace", "--from", "198.51.100.10:4000", "--to", f"{VIP}:80"), 0),
        (("trace", "--from", "198.51.100.10:4000", "--to", f"{VIP}:80", "--proto", "sctp"), 0),
        (("trace", "--from", "198.51.100.10", "--to", f"{VIP}:80"), 2),
        (("trace", "--from", "198.51.100.10:4000", "--to", "web:80"), 2),
        (("trace", "--from", "198.51.100.10:4000", "--to", f"{VIP}:80", "--device", "nope"), 2),
    ],
)
def test_exit_codes(shared: Cluster, arguments: tuple[str, ...], exit_code: int) -> None:
    plain = shared.agents[0].cli(*arguments)
    as_json = shared.agents[0].cli(*arguments, "--json")
    assert (plain.returncode, as_json.returncode) == (exit_code, exit_code), plain.stdout + plain.stderr
    assert "Traceback" not in plain.stderr + as_json.stderr
    if exit_code == 2:
        assert plain.stderr.startswith("lockstep: ")
    else:
        assert plain.stdout
        assert json.loads(as_json.stdout)["schema"].startswith("lockstep.")


def test_without_an_agent_commands_end_with_3(shared: Cluster) -> None:
    done = shared.lab.nodes[0].run(
        [shared.agents[0].cli("status").args[3], "status", "--state-dir=/nonexistent"], check=False
    )
    assert done.returncode == 3
    assert "no agent answers" in done.stderr


def _trace(shared: Cluster, port: int, to: str = f"{VIP}:80") -> dict[str, Any]:
    done = shared.agents[0].cli("trace", "--from", f"198.51.100.10:{port}", "--to", to, "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_trace_says_what_happens_to_a_real_request(shared: Cluster) -> None:
    """The backend that trace names is the one that answers. The router may choose either node: both choose alike."""
    client = shared.lab.client
    for port in range(41000, 41012):
        traced = _trace(shared, port)
        named = next(p.name for p in shared.lab.pods if p.address == traced["backend"]["address"])
        code = (
            "import socket\n"
            f"s=socket.create_connection(('{VIP}',80),15,source_address=('198.51.100.10',{port}))\n"
            "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n')\n"
            "d=b''\n"
            "while (p:=s.recv(4096)): d+=p\n"
            "print(d.decode())"
        )
        answer = client.run(["python3", "-c", code]).stdout
        assert named in answer, (traced, answer)
        assert traced["vip"]["announced"] is True
        if traced["backend"]["local"]:
            assert (traced["verdict"], traced["reason"]) == ("pass", "local")
        else:
            assert (traced["verdict"], traced["reason"]) == ("tx", "remote_tx")
            assert traced["packet"]["outer_dest"] == traced["backend"]["address"]


def test_trace_of_packets_that_are_not_served(shared: Cluster) -> None:
    wrong_port = _trace(shared, 41000, f"{VIP}:81")
    assert (wrong_port["verdict"], wrong_port["reason"]) == ("drop", "no_service")
    foreign = _trace(shared, 41000, "198.18.0.1:80")
    assert (foreign["verdict"], foreign["reason"], foreign["vip"]) == ("pass", "not_ours", None)


def test_the_maps_hold_the_frontends_of_the_manifest(shared: Cluster) -> None:
    for agent in shared.agents:
        assert frontends_in_kernel(agent) == {(VIP, 80), (VIP, 53)}


def test_a_slow_client_does_not_hold_up_the_endpoint(shared: Cluster) -> None:
    """One that connects and says nothing, and one that talks nonsense."""
    path = str(shared.agents[0].state_dir / "status.sock")
    with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as rude:
        silent.connect(path)
        rude.connect(path)
        rude.sendall(b"\x00\xff nonsense\r\n\r\n")
        assert rude.recv(64).startswith(b"HTTP/1.1 400")
        assert shared.agents[0].status()["node"] == "n1"


def test_plan_against_the_running_agent_says_what_would_happen_and_does_nothing(shared: Cluster) -> None:
    agent = shared.agents[0]
    file = agent.node.folder / "new.yaml"
    file.write_text((agent.source / "bgp-config.yaml").read_text().replace("203.0.113.0/28", "203.0.113.64/28"))
    done = agent.cli("plan", f"--config={file}")
    assert done.returncode == 0, done.stderr
    assert "- vip 203.0.113.10 (default/web) would no longer be announced" in done.stdout
    assert "- route 203.0.113.10/32 to 192.168.1.11" in done.stdout
    assert "sessions not touched: 192.168.1.11" in done.stdout
    assert agent.vip(VIP)["state"] == "Announced"
    file.write_text("peers: 5\n")
    refused = agent.cli("plan", f"--config={file}")
    assert refused.returncode == 1
    assert f"{file}:1: peers" in refused.stdout
