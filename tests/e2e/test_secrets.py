"""A TCP-MD5 password, from a Secret on one node and inline on the other, is nowhere but where it has to be.

Everything that the product writes, says and shows of itself is searched for it, in a lab whose router wants it.
"""

from __future__ import annotations

import base64
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from announcer.cli.client import fetch_text
from tests.e2e.cluster import VIP, Cluster, cluster, speaker_pid
from tests.lab import SessionOptions, until
from tests.lab.agents import LOCKSTEP, NodeAgent
from tests.oracle import Oracle, holds

pytestmark = [pytest.mark.root, pytest.mark.lab]

CANARY = "canary-7Qm2xKv93Lt"
_SOURCE = "198.51.100.10:41000"

#: What operators write when they mean a password.
BAD = {
    "key misspelt": f"    pasword: {CANARY}\n",
    "key of another tool": f"    md5: {CANARY}\n",
    "no colon": f"    password {CANARY}\n",
    "no blank": f"    password:{CANARY}\n",
    "list": f"    password: [{CANARY}]\n",
    "map": f"    password: {{{CANARY}: {CANARY}}}\n",
    "alias": f"    password: *{CANARY}\n",
    "tag": f"    password: !{CANARY}\n",
    "twice": f"    password: {CANARY}\n    password: {CANARY}\n",
    "too long": f"    password: {CANARY * 10}\n",
    "bad characters": f'    password: "{CANARY}\\u00e4"\n',
    "both": f"    password: {CANARY}\n    password-secret: {{name: bgp-auth, key: password}}\n",
    "as the reference": f"    password-secret: {CANARY}\n",
    "in the reference": f"    password-secret: {{name: bgp-auth, key: password, value: {CANARY}}}\n",
    "elsewhere too": f"    password: {CANARY}\n    hold-time: {CANARY}\n",
    "cut off": f'    password: "{CANARY}',
}


@pytest.fixture(scope="module")
def secretive() -> Iterator[Cluster]:
    """Both nodes have sessions with a password and BFD, and record what they see."""
    with cluster(session=SessionOptions(password=CANARY, bfd=True)) as made:
        encoded = base64.b64encode(CANARY.encode()).decode()
        for agent, extra in zip(made.agents, (REFERENCE, INLINE), strict=True):
            made.write(agent, "secret.yaml", SECRET.format(encoded))
            made.write(agent, "bgp-config.yaml", _config_map(extra))
            agent.arguments = (f"--record={agent.node.folder / 'record'}", "--metrics-aliases")
        made.start()
        for agent in made.agents:
            until(lambda agent=agent: agent.status()["peers"][0]["bfd"] == "up", "BFD is up", 30)  # type: ignore[misc]
        yield made
        # Not with the lab, which kills all at once: what holds bfdd takes its folder in /run away.
        for agent in made.agents:
            agent.terminate()
            speaker = speaker_pid(agent)
            holder = next(pid for pid in _tree(speaker) if b"bfd_child" in Path(f"/proc/{pid}/cmdline").read_bytes())
            os.kill(speaker, signal.SIGTERM)
            until(lambda holder=holder: not Path(f"/proc/{holder}").exists(), "bfdd has ended", 20)  # type: ignore[misc]


REFERENCE = "    password-secret: {name: bgp-auth, key: password}\n"
INLINE = f"    password: {CANARY}\n"
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {{name: bgp-auth, namespace: kube-system}}
data: {{password: {}}}
"""


def _config(extra: str) -> str:
    peers = "peers:\n  - peer-address: 192.168.1.11\n    peer-asn: 64512\n    my-asn: 64512\n"
    pools = "address-pools: [{name: default, protocol: bgp, addresses: [203.0.113.0/28]}]\n"
    # A second, three times: what is shown is read while BFD is up, and not that it is quick.
    profiles = "bfd-profiles: [{name: calm, receive-interval: 1000, transmit-interval: 1000}]\n"
    return profiles + pools + peers + "    bfd-profile: calm\n" + extra


def _config_map(extra: str) -> str:
    metadata = {"name": "bgp-config", "namespace": "kube-system"}
    data = {"config.yaml": _config(extra)}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})


def _said(agent: NodeAgent, *arguments: str | Path) -> str:
    """Everything that a command prints."""
    done = agent.node.run([LOCKSTEP, *arguments], check=False)
    assert "Traceback" not in done.stderr, (arguments, done.stderr)
    assert done.stdout + done.stderr, arguments
    return done.stdout + done.stderr


def _everything_shown(agent: NodeAgent) -> dict[str, str]:
    """What commands and the endpoint say of a running agent."""
    good = agent.node.folder / "manifests" / "bgp-config.yaml"
    state = f"--state-dir={agent.state_dir}"
    questions: list[tuple[str | Path, ...]] = [
        ("status",), ("explain", VIP), ("explain", "default/web"), ("routes",), ("plan", f"--config={good}"),
        ("trace", f"--from={_SOURCE}", f"--to={VIP}:80"),
    ]  # fmt: skip
    found = {}
    for question in questions:
        for form in ((), ("--json",)):
            found[f"lockstep {question} {form}"] = _said(agent, *question, *form, state)
    for path in ("/", "/metrics", "/readyz", "/v1/status", "/v1/peers", "/v1/vips", "/v1/routes",
                 f"/v1/explain?target={VIP}", "/v1/nothing"):  # fmt: skip
        found[path] = fetch_text(agent.state_dir, path)
    return found


def _leaks(texts: dict[str, str]) -> list[str]:
    return [name for name, text in texts.items() if holds(text.encode(), CANARY)]


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in _tree(int(child)))]


def test_nothing_that_is_shown_holds_it(secretive: Cluster) -> None:
    for agent in secretive.agents:
        texts = _everything_shown(agent)
        assert _leaks(texts) == []
        for line in (
            'lockstep_bfd_session_up{peer="192.168.1.11"} 1.0',
            'metallb_bgp_session_up{peer="192.168.1.11:179"} 1.0',
        ):
            assert line in texts["/metrics"]
        for offline in ((), ("--json",)):
            plan = ("plan", f"--config={agent.source / 'bgp-config.yaml'}", f"--source={agent.source}")
            texts |= {
                f"check {offline}": _said(agent, "check", agent.source / "bgp-config.yaml", *offline),
                f"check --dialect {offline}": _said(
                    agent, "check", agent.source / "bgp-config.yaml", "--dialect=auto", *offline
                ),
                f"plan --source {offline}": _said(agent, *plan, f"--node-name={agent.node.name}", *offline),
            }
        assert _leaks(texts) == []
        # Control: the same search finds what is there.
        assert _leaks({"control": f"x{CANARY}x"}) == ["control"]


def test_the_recording_and_its_replay_do_not_hold_it(secretive: Cluster) -> None:
    for agent in secretive.agents:
        record = agent.node.folder / "record"
        until(lambda record=record: record.stat().st_size > 2000, "there is a recording")  # type: ignore[misc]
        replays = {form: _said(agent, "replay", record, form) for form in ("--show", "--json")}
        assert _leaks(replays | {"recording": record.read_text()}) == []


def test_no_process_shows_it_or_leaves_a_core(secretive: Cluster) -> None:
    for agent in secretive.agents:
        pids = [*_tree(agent.pid), *_tree(speaker_pid(agent))]
        names = {Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in pids}
        for part in ("run --source", "-m bgpd ", "bgpd.child", "relay", "bfd_child", "bfdd -f"):
            assert any(part in name for name in names), (part, names)
        for pid in pids:
            proc = Path(f"/proc/{pid}")
            assert _leaks({file: (proc / file).read_text() for file in ("cmdline", "environ", "comm")}) == []
            assert re.search(r"^Max core file size\s+0\s+0\s", (proc / "limits").read_text(), re.MULTILINE)
            assert int((proc / "coredump_filter").read_text(), 16) == 0


def test_of_all_files_only_the_configurations_hold_it(secretive: Cluster) -> None:
    holders = {}
    for agent in secretive.agents:
        state = agent.state_dir
        for path in state.rglob("*"):
            assert path.lstat().st_mode & 0o077 == 0, f"{path} is open to others"
        files = [path for path in state.rglob("*") if path.is_file()]
        holders[agent.node.name] = {path.name for path in files if holds(path.read_bytes(), CANARY)}
        log = (state / "speaker.log").read_text()
        assert log
        assert agent.log.read_text()
    # The last good configuration is as it was written: a restart with a broken one must not lose the session.
    assert holders == {"n1": {"exabgp.conf"}, "n2": {"exabgp.conf", "last-good-config.json"}}


def test_the_oracle_finds_it_nowhere_and_finds_it_where_it_was_put(secretive: Cluster) -> None:
    leak = secretive.agents[0].node.folder / "leak.log"
    with Oracle(secretive.lab, VIP, canary=CANARY) as oracle:
        pass
    with Oracle(secretive.lab, VIP, canary=CANARY) as oracle:
        leak.write_bytes(b"x" + base64.b64encode(b"password=" + CANARY.encode() + b"\n"))
        broken = oracle.broken(oracle.stop())
        leak.unlink()
    assert broken == [f"I12: the canary stands in {leak}"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_without_a_word_of_it(secretive: Cluster, name: str) -> None:
    agent = secretive.agents[0]
    file = agent.node.folder / "manifests" / "bgp-config.txt"  # no manifest, so the agent does not follow it
    file.write_text(_config(BAD[name]))
    said = {}
    for words in (
        ("check", file, "--dialect=metallb-0.12"),
        ("plan", f"--config={file}", f"--state-dir={agent.state_dir}", "--json"),
    ):
        done = agent.node.run([LOCKSTEP, *words], check=False)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        said[str(words)] = done.stdout + done.stderr
    assert _leaks(said) == []


@pytest.mark.parametrize("file", ["bgp-config.yaml", "secret.yaml", "broken.yaml"])
def test_a_running_agent_says_what_is_wrong_without_a_word_of_it(secretive: Cluster, file: str) -> None:
    agent = secretive.agents[1]
    secretive.write(agent, file, {
        "bgp-config.yaml": _config_map(BAD["no colon"]),
        "secret.yaml": SECRET.format(f"{CANARY}"),
        "broken.yaml": SECRET.format(f'"{CANARY}": {CANARY}'),
    }[file])  # fmt: skip

    def told() -> bool:
        status = agent.status()
        return status["config"]["state"] != "applied" or bool(status["sources"]["problems"])

    until(told, "the agent says that something is wrong")
    assert _leaks(_everything_shown(agent)) == []
    assert _leaks({"log": agent.log.read_text(), "record": (agent.node.folder / "record").read_text()}) == []
    if file == "broken.yaml":
        (agent.source / file).unlink()
    secretive.write(agent, "secret.yaml", SECRET.format(base64.b64encode(CANARY.encode()).decode()))
    secretive.write(agent, "bgp-config.yaml", _config_map(INLINE))
    until(lambda: not told(), "all is well again")
