"""What the chart makes: with every preset, with values that it must refuse, and what it promises about pods."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from announcer.cli.main import cli
from announcer.config import parse
from datapath.limits import Limits
from tests.chart.helm import CHART, PRESETS, HelmError, Values, find, pods, run, template

#: Helm, or an API server: `make kube` builds both.
pytestmark = pytest.mark.kube

_DOCS = Path(__file__).resolve().parents[2] / "docs"

EVERY_PRESET = ["", *PRESETS]

PEER = {"peer-address": "192.0.2.1", "peer-asn": 64512, "my-asn": 64513}


def test_helm_lints_it() -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in run("lint", "--strict", CHART)


@pytest.mark.parametrize("preset", EVERY_PRESET)
def test_every_preset_renders(preset: str) -> None:
    objects = template(preset=preset)
    names = [(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects]
    assert len(set(names)) == len(names)
    assert set(pods(objects)) == {"agent", "speaker", "allocator"}


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"agnet": {}}, "agnet"),
        ({"agent": {"statusListen": "0.0.0.0:9797"}}, "statusListen"),
        ({"agent": {"kubeProxyHealth": "127.0.0.1:10256"}}, "kubeProxyHealth"),
        ({"agent": {"capabilities": ["ALL"]}}, "capabilities"),
        ({"agent": {"metricsPort": 70000}}, "metricsPort"),
        ({"agent": {"lbMode": "vxlan"}}, "lbMode"),
        ({"agent": {"snatPorts": "80-90"}}, "snatPorts"),
        ({"agent": {"extraArgs": ["; rm -rf /"]}}, "extraArgs"),
        ({"agent": {"updateStrategy": {"type": "Recreate"}}}, "updateStrategy"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"image": {"tag": "a b"}}, "tag"),
        ({"allocator": {"replicas": 0}}, "replicas"),
        ({"speaker": {"terminationGracePeriodSeconds": 1}}, "terminationGracePeriodSeconds"),
        ({"bgpConfig": {"config": {"peers": [{"peer-address": "192.0.2.1"}]}}}, "peers"),
        ({"bgpConfig": {"namespace": "Not_A_Name"}}, "namespace"),
        ({"hostPaths": {"state": "run"}}, "state"),
        ({"podMonitor": {"enabled": True}}, "metricsPort"),
        ({"bgpConfig": {"config": {"peers": [PEER | {"passive": True}]}}}, "192.0.2.1 is passive.* set speaker.listen"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_values_are_refused(values: Values, place: str) -> None:
    with pytest.raises(HelmError, match=place):
        template(values=values)


@pytest.mark.parametrize("preset", EVERY_PRESET)
def test_pods_are_allowed_as_little_as_they_need(preset: str) -> None:
    # Who loads nothing needs nothing.
    agent = None if preset == "keep-kube-proxy" else ["BPF", "NET_ADMIN", "PERFMON"]
    wanted: dict[str, list[str] | None] = {"agent": agent, "speaker": None, "allocator": None}
    for component, pod in pods(template(preset=preset)).items():
        (container,) = pod["containers"]
        security = container["securityContext"]
        assert security["capabilities"].get("add") == wanted[component], component
        assert security["capabilities"]["drop"] == ["ALL"]
        assert security["readOnlyRootFilesystem"] is True
        assert (security["privileged"], security["allowPrivilegeEscalation"]) == (False, False)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostPID", "hostIPC", "shareProcessNamespace"} & pod.keys()
        assert pod.get("hostNetwork", False) == (component != "allocator")
        assert pod["automountServiceAccountToken"] == (component != "speaker")
        assert set(container["resources"]) == {"requests", "limits"}
    allocator = pods(template(preset=preset))["allocator"]
    assert allocator["securityContext"]["runAsNonRoot"] is True
    assert not [volume for volume in allocator["volumes"] if "hostPath" in volume]


def test_where_kube_proxy_forwards_there_are_no_programs() -> None:
    """Whatever the capabilities are said to be: what is not used is not given."""
    found = pods(template(preset="keep-kube-proxy", values={"agent": {"capabilities": ["BPF"]}}))["agent"]
    (container,) = found["containers"]
    assert {"--no-datapath", "--kube-proxy-health=http://127.0.0.1:10256/healthz"} <= set(container["args"])
    assert "add" not in container["securityContext"]["capabilities"]
    assert "bpffs" not in {item["name"] for item in (*found["volumes"], *container["volumeMounts"])}
    ours = pods(template())["agent"]["containers"][0]
    assert "--no-datapath" not in ours["args"]


@pytest.mark.parametrize("wanted", [True, False])
def test_vips_answer_pings_as_the_values_say(wanted: bool) -> None:
    (container,) = pods(template(values={"agent": {"icmpEcho": wanted}}))["agent"]["containers"]
    assert ("--no-icmp-echo" in container["args"]) is not wanted


def test_maps_are_as_large_as_the_values_say() -> None:
    """Helm reads numbers as floats, and prints large ones as no map size is written."""
    sizes = {"lb_rows": 67108864, "lb_backends": 524288}
    (container,) = pods(template(values={"agent": {"mapSizes": sizes}}))["agent"]["containers"]
    told = dict(
        argument.removeprefix("--map-size=").split("=") for argument in container["args"] if "map-size" in argument
    )
    assert told == {name: str(size) for name, size in sizes.items()}
    assert Limits.of({name: int(size) for name, size in told.items()}).backends == 524288


def test_modes_reach_the_agent() -> None:
    def arguments(**agent: object) -> list[str]:
        return list(pods(template(values={"agent": agent}))["agent"]["containers"][0]["args"])

    assert {"--lb-mode=dsr", "--snat-ports=61000-65535"} <= set(arguments())
    assert "--lb-mode=hybrid-geneve" in arguments(lbMode="hybrid-geneve")
    chosen = arguments(lbMode="hybrid", snatPorts="49152-65535")
    assert {"--lb-mode=hybrid", "--snat-ports=49152-65535"} <= set(chosen)
    assert not [word for word in arguments(lbMode="snat", datapath=False) if word.startswith(("--lb-mode", "--snat"))]


def test_agent_and_speaker_meet_in_one_folder() -> None:
    found = pods(template())
    folders: set[str] = set()
    for name in ("agent", "speaker"):
        (container,) = found[name]["containers"]
        volumes = {item["name"]: item for item in found[name]["volumes"]}
        (mount,) = [item for item in container["volumeMounts"] if item["name"] == "state"]
        assert volumes["state"]["hostPath"]["path"] == mount["mountPath"] == "/run/lockstep"
        (argument,) = [item for item in container["args"] if item.startswith("--state-dir=")]
        folders.add(argument)
    assert folders == {"--state-dir=/run/lockstep/node"}


def test_whatever_changes_for_the_agent_the_speaker_stays() -> None:
    """An upgrade must not close a session: nothing of the agent's is in the speaker's template, and the image that all
    share is taken up by speakers only when somebody deletes their pods.
    """

    def speaker(values: Values) -> dict[str, Any]:
        return dict(find(template(values=values), "DaemonSet", "lockstep-speaker"))

    changed: Values = {
        "agent": {"devices": "eth0", "metricsPort": 9796, "extraArgs": ["--verbose"], "resources": {}},
        "bgpConfig": {"config": {"peers": [PEER]}},
        "allocator": {"enabled": False},
    }
    assert speaker(changed) == speaker({})
    assert speaker({})["spec"]["updateStrategy"] == {"type": "OnDelete"}
    assert find(template(), "DaemonSet", "lockstep-agent")["spec"]["updateStrategy"]["type"] == "RollingUpdate"


@pytest.mark.parametrize("preset", EVERY_PRESET)
def test_every_argument_is_one_that_the_command_knows(preset: str) -> None:
    for component, pod in pods(template(preset=preset)).items():
        (container,) = pod["containers"]
        called = [container["args"]]
        if "exec" in container["livenessProbe"]:
            program, *asked = container["livenessProbe"]["exec"]["command"]
            assert program == "lockstep"
            called.append(asked)
        for name, *arguments in called:
            command = cli.get_command(click.Context(cli), name)
            assert command is not None, component
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            assert {argument.partition("=")[0] for argument in arguments} <= known, component


def test_a_speaker_that_stands_still_is_ended_by_the_kubelet() -> None:
    """It is asked in the folder in which it is, and is given longer than the kubelet's three tries."""
    (container,) = pods(template())["speaker"]["containers"]
    probe = container["livenessProbe"]
    assert probe["exec"]["command"] == ["lockstep", "speaker", "--alive", "--state-dir=/run/lockstep/node"]
    assert probe["exec"]["command"][-1] in container["args"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= 60


def test_the_configuration_arrives_as_it_was_written() -> None:
    config = {"peers": [PEER], "address-pools": [{"name": "p", "protocol": "bgp", "addresses": ["192.0.2.0/24"]}]}
    made = find(template(values={"bgpConfig": {"config": config}}), "ConfigMap")
    result = parse(made["data"]["config.yaml"])
    assert result.config is not None, result.problems
    assert (len(result.config.peers), len(result.config.pools)) == (1, 1)
    assert parse(find(template(), "ConfigMap")["data"]["config.yaml"]).config is not None, "and the default is valid"
    elsewhere = template(values={"bgpConfig": {"create": False, "namespace": "kube-system"}})
    assert not [item for item in elsewhere if item["kind"] == "ConfigMap"]
    for component in ("agent", "allocator"):
        assert "--config-map=kube-system/bgp-config" in pods(elsewhere)[component]["containers"][0]["args"]


def test_secrets_that_the_configuration_names_may_be_read_and_no_other() -> None:
    def rules(values: Values) -> list[dict[str, Any]]:
        found = find(template(values=values), "Role", "lockstep-agent")["rules"]
        return [rule for rule in found if "secrets" in rule["resources"]]

    assert rules({}) == []
    peers = [{**PEER, "password-secret": {"name": "b", "key": "k"}}, PEER]
    (rule,) = rules({"bgpConfig": {"config": {"peers": peers}, "secrets": ["a", "b"]}})
    assert rule["resourceNames"] == ["a", "b"]


def test_the_allocator_can_be_left_out() -> None:
    objects = template(values={"allocator": {"enabled": False}, "networkPolicy": {"enabled": True}})
    assert not [item for item in objects if "allocator" in item["metadata"]["name"]]


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    known = set(re.findall(r"`(lockstep_\w+)", (_DOCS / "metrics.md").read_text()))
    rules = yaml.safe_load((CHART / "alerts.yaml").read_text())
    asked = {word for group in rules["groups"] for rule in group["rules"] for word in _metrics(rule["expr"])}
    board = json.loads((CHART / "dashboards" / "lockstep.json").read_text())
    asked |= {word for panel in board["panels"] for target in panel["targets"] for word in _metrics(target["expr"])}
    assert asked
    assert asked <= known, asked - known
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"].keys() == {"summary", "description"}
            assert rule["labels"]["severity"] in ("warning", "critical")


def _metrics(expression: str) -> set[str]:
    return {re.sub(r"_(bucket|sum|count)$", "", word) for word in re.findall(r"\blockstep_\w+", expression)}


def test_monitoring_makes_what_it_says() -> None:
    objects = template(preset="monitoring")
    kinds = {item["kind"] for item in objects}
    assert {"PodMonitor", "PrometheusRule", "NetworkPolicy"} <= kinds
    agent = pods(objects)["agent"]["containers"][0]
    assert "--metrics-listen=$(HOST_IP):9796" in agent["args"]
    assert "--status-listen=127.0.0.1:9797" in agent["args"], "the whole status stays on loopback"
    board = find(objects, "ConfigMap", "lockstep-dashboard")
    assert json.loads(board["data"]["lockstep.json"])["uid"] == "lockstep"


@pytest.mark.parametrize(
    ("listen", "peer", "wanted"),
    [
        (False, {"passive": False}, None),
        (False, {"passive": True, "connect-port": 1179}, None),
        (True, {"passive": True}, ["NET_BIND_SERVICE"]),
    ],
    ids=["connects", "high-port", "listens"],
)
def test_the_speaker_may_listen_only_where_that_was_asked_for(
    listen: bool, peer: dict[str, Any], wanted: list[str] | None
) -> None:
    values = {"speaker": {"listen": listen}, "bgpConfig": {"config": {"peers": [PEER | peer]}}}
    for component, pod in pods(template(values=values)).items():
        added = pod["containers"][0]["securityContext"]["capabilities"].get("add")
        if component != "agent":
            assert added == (wanted if component == "speaker" else None), component
