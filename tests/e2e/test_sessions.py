"""Session options and attributes, from the bgp-config to a real router that insists on them."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from tests.e2e.cluster import VIP, VIP_ROUTE, Cluster, cluster, speaker_pid
from tests.lab import FibPoll, RouteJournal, SteadyTraffic, send, until
from tests.lab.agents import NodeAgent
from tests.lab.plan import SessionOptions

pytestmark = [pytest.mark.root, pytest.mark.lab]

_REPLACED = 'lockstep_repairs_total{kind="speaker"}'
CANARY = "cAnArY-8d1f"

CONFIG = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: bgp-config, namespace: kube-system}
data:
  config.yaml: |
    peers:
    - peer-address: 192.168.1.11
      peer-asn: 4200000001
      my-asn: 64512
      hold-time: 9s
      password-secret: {name: bgp-auth}
    address-pools:
    - name: default
      protocol: bgp
      addresses: [203.0.113.0/28]
      bgp-advertisements:
      - communities: [no-export, "64512:7"]
        large-communities: ["64512:1:2"]
        med: 50
        as-path-prepend: 2
    pod-cidrs: {med: 7}
"""
SECRET = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: bgp-auth, namespace: kube-system}}
stringData: {{password: {CANARY}}}
"""


def test_a_password_from_a_secret_with_every_attribute() -> None:
    with cluster(router_asn=4200000001, session=SessionOptions(password=CANARY)) as made:
        for agent in made.agents:
            made.write(agent, "bgp-config.yaml", CONFIG)
            agent.start()
        for agent in made.agents:
            until(lambda agent=agent: agent.status().get("refused_peers"), "the peer is refused", 20)  # type: ignore[misc]
            (refusal,) = agent.status()["refused_peers"]
            assert (refusal["name"], refusal["reason"]) == ("192.168.1.11", "secretMissing")
            assert agent.status()["peers"] == [], "never tried without the password"
            made.write(agent, "secret.yaml", SECRET)
        made.await_vip()
        paths = made.lab.router.rib()[VIP_ROUTE]
        assert len(paths) == 2
        for path in paths:
            assert path.as_path == (64512, 64512, 64512)
            assert path.med == 50
            assert path.communities == ("64512:7", "no-export")
            assert path.large_communities == ("64512:1:2",)
        (pod_path,) = made.lab.router.rib()["10.244.1.0/24"]
        assert (pod_path.med, pod_path.communities, pod_path.as_path) == (7, (), (64512,))
        (route,) = [r for r in made.agents[0].routes()["peers"][0]["routes"] if r["prefix"] == VIP_ROUTE]
        assert route["attributes"]["med"] == 50
        assert route["attributes"]["large_communities"] == ["64512:1:2"]
        assert send(made.lab.client, f"{VIP}:80", count=50).failed == 0
        _assert_secret_is_nowhere(made)


def _assert_secret_is_nowhere(made: Cluster) -> None:
    """Only files of mode 0600 may hold it, and nothing that is printed."""
    agent = made.agents[0]
    said = [agent.cli(*command).stdout for command in (("status", "--json"), ("explain", VIP, "--json"), ("routes",))]
    said.append(agent.log.read_text())
    said.append(subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout)
    for text in said:
        assert CANARY not in text
    holding = [
        path for path in agent.state_dir.rglob("*") if path.is_file() and CANARY in path.read_text(errors="replace")
    ]
    assert holding, "the engine's configuration must hold it, or this looks in the wrong place"
    for path in holding:
        assert path.stat().st_mode & 0o777 == 0o600, path
        assert path.suffix != ".log", path


@pytest.mark.parametrize("router", ["bird", "frr"])
def test_routers_that_begin_the_sessions(router: str) -> None:
    """And a peer that is passive no longer is connected to: a reset of that session, as ``plan`` says beforehand."""
    with cluster(router, session=SessionOptions(connects=True)) as made:
        agent, other = made.agents
        active = (agent.source / "bgp-config.yaml").read_text()
        for each in made.agents:
            made.write(each, "bgp-config.yaml", active.replace("my-asn: 64512", "my-asn: 64512\n        passive: true"))
            each.start()
        made.await_vip()
        assert send(made.lab.client, f"{VIP}:80", count=50).failed == 0
        assert _bgp_listeners(agent) == 1
        (before,), (elsewhere,) = agent.status()["peers"], other.status()["peers"]
        file = agent.node.folder / "new.yaml"
        file.write_text(active)
        assert "~ session 192.168.1.11 is reset: passive" in agent.cli("plan", f"--config={file}").stdout
        made.write(agent, "bgp-config.yaml", active)
        until(lambda: agent.status()["peers"][0]["sessions"] > before["sessions"], "the session was reset", 15)
        made.await_vip()
        assert _bgp_listeners(agent) == 0
        (after,) = other.status()["peers"]
        assert (after["sessions"], after["since"]) == (elsewhere["sessions"], elsewhere["since"])


def _bgp_listeners(agent: NodeAgent) -> int:
    return agent.node.run(["ss", "-Hltn", "sport", "=", ":179"]).stdout.count("LISTEN")


def test_attributes_and_pools_change_without_touching_a_session(running: Cluster) -> None:
    agent = running.agents[0]
    (before,) = agent.status()["peers"]
    good = (agent.source / "bgp-config.yaml").read_text()
    changed = good.rstrip() + '\n        bgp-advertisements: [{communities: ["64512:9"], localpref: 300}]\n'
    with RouteJournal(running.lab.router) as journal:
        running.write(agent, "bgp-config.yaml", changed)

        def arrived() -> bool:
            paths = running.lab.router.rib()[VIP_ROUTE]
            mine = [path for path in paths if path.next_hop == agent.node.address]
            return bool(mine) and mine[0].communities == ("64512:9",) and mine[0].local_pref == 300

        until(arrived, "the router has the new attributes")
        assert journal.deleted(VIP_ROUTE) == []
    (after,) = agent.status()["peers"]
    assert (after["sessions"], after["since"]) == (before["sessions"], before["since"])


def test_one_changed_timer_resets_that_session_and_plan_said_so(running: Cluster) -> None:
    agent, other = running.agents
    (before,), (elsewhere,) = agent.status()["peers"], other.status()["peers"]
    good = (agent.source / "bgp-config.yaml").read_text()
    changed = good.replace("my-asn: 64512", "my-asn: 64512\n        hold-time: 30s")
    file = agent.node.folder / "new.yaml"
    file.write_text(changed)
    assert "~ session 192.168.1.11 is reset: hold-time" in agent.cli("plan", f"--config={file}").stdout
    running.write(agent, "bgp-config.yaml", changed)
    until(lambda: agent.status()["peers"][0]["sessions"] > before["sessions"], "the session was reset", 15)
    running.await_vip()
    assert other.status()["peers"][0]["sessions"] == elsewhere["sessions"]


def test_with_graceful_restart_a_killed_speaker_costs_no_route_and_no_request(running: Cluster) -> None:
    """The control is in ``test_restarts``: without it the router loses the routes of the node."""
    agent = running.agents[0]
    (before,) = agent.status()["peers"]
    good = (agent.source / "bgp-config.yaml").read_text()
    changed = good.replace("my-asn: 64512", "my-asn: 64512\n        graceful-restart: {time: 60s}")
    running.write(agent, "bgp-config.yaml", changed)
    until(lambda: agent.status()["peers"][0]["sessions"] > before["sessions"], "the session was reset", 15)
    running.await_vip()
    lab = running.lab
    with (
        RouteJournal(lab.router) as journal,
        FibPoll(lab.router, agent.node.pod_cidr) as poll,
        SteadyTraffic(lab.client, f"{VIP}:80", rate=200) as steady,
    ):
        killed = speaker_pid(agent)
        os.kill(killed, signal.SIGKILL)
        until(lambda: agent.metrics().get(_REPLACED), "the agent has replaced it", 30)
        agent.await_announced(VIP, 30)
        assert speaker_pid(agent) != killed
        outcome = steady.stop()
        changes = journal.changes()
        seen = poll.stop()
    assert outcome.failed == 0, outcome
    assert seen.missing == 0, seen
    assert [change for change in changes if change.action == "deleted"] == []
    assert all(agent.node.address in change.next_hops for change in changes if change.prefix == VIP_ROUTE), changes
