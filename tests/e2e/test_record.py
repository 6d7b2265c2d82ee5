"""A run in the lab is recorded and decided again from the recording."""

from __future__ import annotations

import json

import pytest
import yaml

from tests.e2e.cluster import VIP, Cluster, cluster
from tests.lab import SessionOptions, until
from tests.lab.agents import LOCKSTEP, NodeAgent

pytestmark = [pytest.mark.root, pytest.mark.lab]

PASSWORD = "canary-40b1d7"


def _replay(agent: NodeAgent, *options: str) -> tuple[int, dict[str, object]]:
    done = agent.node.run([LOCKSTEP, "replay", "--json", *options, agent.node.folder / "record"], check=False)
    return done.returncode, json.loads(done.stdout)


def _give_passwords(made: Cluster) -> None:
    for agent in made.agents:
        path = agent.source / "bgp-config.yaml"
        manifest = yaml.safe_load(path.read_text())
        config = yaml.safe_load(manifest["data"]["config.yaml"])
        for peer in config["peers"]:
            peer["password"] = PASSWORD
        manifest["data"]["config.yaml"] = yaml.safe_dump(config)
        path.write_text(yaml.safe_dump(manifest))


def test_a_run_in_the_lab_is_decided_again_from_its_recording() -> None:
    with cluster(session=SessionOptions(password=PASSWORD)) as made:
        _give_passwords(made)
        agent = made.agents[0]
        agent.arguments = (f"--record={agent.node.folder / 'record'}",)
        made.start()
        made.set_ready(lambda address: address != "10.244.1.11")
        made.await_serving(3)
        assert agent.cli("drain", "--wait").returncode == 0
        assert agent.cli("undrain").returncode == 0
        made.await_vip()
        agent.terminate()
        text = (agent.node.folder / "record").read_text()
        assert PASSWORD not in text, "no secret stands in a recording"
        code, told = _replay(agent)
        assert (code, told["problems"]) == (0, [])
        lines = told["lines"]
        assert isinstance(lines, dict)
        assert lines["inputs"] >= 4
        assert lines["plan"] >= 20

        # Control: one changed letter of what the agent saw does not pass.
        (agent.node.folder / "record").write_text(text.replace(VIP, "203.0.113.11", 1))
        code, told = _replay(agent)
        assert code == 1
        assert told["problems"]
        agent.start()
        until(lambda: (agent.node.folder / "record.1").exists(), "the old recording was kept")
