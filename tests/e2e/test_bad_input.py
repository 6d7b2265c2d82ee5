"""Bad input to a running agent: it says what is wrong, with line and key, and goes on with what was good."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.cluster import VIP, Cluster
from tests.lab import RouteJournal, send, until
from tests.lab.agents import LOCKSTEP, STANDALONE, NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]

PEERS = "peers:\n  - peer-address: 192.168.1.11\n    peer-asn: 64512\n    my-asn: 64512\n"
POOLS = "address-pools:\n  - name: default\n    protocol: bgp\n    addresses:\n      - 203.0.113.0/28\n"

HEAD = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: bgp-config, namespace: kube-system}
data:
  config.yaml: |
"""

#: What is wrong; the configuration; the line and the key path that must be named.
BAD: list[tuple[str, str, int, str]] = [
    ("unknown key", PEERS + "    hold-tiem: 90s\n" + POOLS, 5, "peers[0].hold-tiem"),
    ("duplicate key", PEERS + "    my-asn: 64513\n" + POOLS, 5, "peers[0].my-asn"),
    ("wrong type", PEERS.replace("64512\n    my", "many\n    my") + POOLS, 3, "peers[0].peer-asn"),
    (
        "overlapping pools",
        PEERS + POOLS + "  - name: other\n    protocol: bgp\n    addresses: [203.0.113.8/29]\n",
        12,
        "address-pools[1].addresses[0]",
    ),
    (
        "reversed range",
        PEERS + POOLS.replace("203.0.113.0/28", "203.0.113.9-203.0.113.1"),
        9,
        "address-pools[0].addresses[0]",
    ),
    ("unquoted community", PEERS + POOLS + "bgp-communities:\n  red: 65000:10\n", 11, "bgp-communities.red"),
    ("truncated", PEERS + POOLS + "bgp-communities: {red: ", 10, "bgp-communities.red"),
    ("nothing at all", "# emptied by accident\n", 1, ""),
]


@pytest.fixture
def standing(shared: Cluster) -> Cluster:
    """The shared cluster with its good configuration back, whatever the test before left."""
    agent = shared.agents[0]
    shared.write(agent, "bgp-config.yaml", (STANDALONE / "bgp-config.yaml").read_text())
    until(lambda: agent.status()["config"]["state"] == "applied", "the good configuration is applied")
    return shared


@pytest.mark.parametrize(("config", "line", "path"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_the_last_good_configuration_stays(standing: Cluster, config: str, line: int, path: str) -> None:
    agent = standing.agents[0]
    good = (STANDALONE / "bgp-config.yaml").read_text()
    body = "".join(f"    {text}\n" for text in config.splitlines())
    with RouteJournal(standing.lab.router) as journal:
        standing.write(agent, "bgp-config.yaml", HEAD + body)
        until(lambda: agent.status()["config"]["state"] == "stale", "the status says that the configuration is stale")
        errors = agent.status()["config"]["errors"]
        assert any(
            error["path"] == path and error["line"] == line + 5 and error["file"].endswith("bgp-config.yaml")
            for error in errors
        ), errors
        assert all(error["problem"] for error in errors)
        assert agent.vip(VIP)["state"] == "Announced"
        standing.write(agent, "bgp-config.yaml", good)
        until(lambda: agent.status()["config"]["state"] == "applied", "the good one is applied again")
        assert journal.changes() == []


@pytest.mark.parametrize("data", [b"\xff\xfe not UTF-8", b"peers:\n" + b"# padding\n" * 500_000], ids=["bytes", "5 MB"])
def test_a_manifest_file_that_is_no_text_or_too_big(standing: Cluster, data: bytes) -> None:
    agent = standing.agents[0]
    good = (STANDALONE / "bgp-config.yaml").read_text()
    with RouteJournal(standing.lab.router) as journal:
        standing.write(agent, "bgp-config.yaml", data)
        until(lambda: agent.status()["sources"]["problems"], "the status names the file")
        assert "bgp-config.yaml" in agent.status()["sources"]["problems"][0]
        assert agent.vip(VIP)["state"] == "Announced"
        standing.write(agent, "bgp-config.yaml", good)
        until(lambda: not agent.status()["sources"]["problems"], "the problem is gone")
        assert journal.changes() == []


def test_a_restart_with_a_bad_configuration_goes_on_with_the_last_good_one(running: Cluster) -> None:
    """A typing error and a restart together must not take the routes of a node back."""
    agent = running.agents[0]
    with RouteJournal(running.lab.router) as journal:
        agent.kill()
        running.write(
            agent, "bgp-config.yaml", (STANDALONE / "bgp-config.yaml").read_text().replace("my-asn", "my-san")
        )
        agent.start()
        until(lambda: agent.status().get("config", {}).get("state") == "stale", "the agent says so", 20)
        agent.await_announced(VIP)
        assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0
        assert journal.changes() == []


def test_a_restart_with_a_broken_manifest_takes_nothing_away(running: Cluster) -> None:
    """The new agent knows no earlier state of that file: what it cannot read is not deleted."""
    agent = running.agents[0]
    good = (agent.source / "service-web.yaml").read_text()
    with RouteJournal(running.lab.router) as journal:
        agent.kill()
        running.write(agent, "service-web.yaml", "kind: Service\nmetadata: {name: web\n")
        agent.start()
        until(lambda: agent.status().get("sources", {}).get("problems"), "the agent names the file", 20)
        until(lambda: _established(agent), "it has found the session")
        assert send(running.lab.client, f"{VIP}:80", count=100).failed == 0
        running.write(agent, "service-web.yaml", good)
        agent.await_announced(VIP)
        assert journal.changes() == []


def _established(agent: NodeAgent) -> bool:
    """False as well while the agent has not yet decided which peers there are."""
    return any(peer["state"] == "Established" for peer in agent.status()["peers"])


def test_a_deleted_configuration_is_reported_and_changes_nothing(running: Cluster) -> None:
    with RouteJournal(running.lab.router) as journal:
        running.delete("bgp-config.yaml")
        for agent in running.agents:
            until(lambda agent=agent: agent.status()["config"]["state"] == "missing", "the agent says so")  # type: ignore[misc]
            assert agent.vip(VIP)["state"] == "Announced"
        assert journal.changes() == []


def test_a_first_start_with_a_bad_configuration_announces_nothing_and_says_why(running: Cluster) -> None:
    other = running.lab.nodes[0]
    folder = other.folder / "bad"
    folder.mkdir()
    (folder / "bgp-config.yaml").write_text("peers: []\npeers: []\n")
    check = other.run([LOCKSTEP, "check", Path(folder / "bgp-config.yaml")], check=False)
    assert check.returncode == 1
    assert f"{folder}/bgp-config.yaml:2" in check.stdout + check.stderr
    assert "Traceback" not in check.stderr
