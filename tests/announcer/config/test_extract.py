"""The bgp-config is found in what the operator has, and problems point into that file."""

from __future__ import annotations

import pytest

from announcer.config import Config, extract, load, parse_config_map
from announcer.model.objects import ConfigMap, ObjectKey

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata:
  name: bgp-config
  namespace: kube-system
data:
  config.yaml: |

    # a comment
    peers:
    - peer-address: 10.0.0.1
      peer-asn: 64512
      my-asn: 0
"""


def places(text: str | bytes) -> list[tuple[int, int, str]]:
    return [(problem.line, problem.column, problem.path) for problem in load(text, "f").problems]


def test_bare_yaml_is_taken_as_it_is() -> None:
    assert extract("peers: []\n", "f").text == "peers: []\n"
    assert load("peers: []\n").config is not None


@pytest.mark.parametrize("indicator", ["|", "|-", "|+", "|2", "| # a comment", "&a |"])
def test_lines_and_columns_of_a_block_are_those_of_the_manifest(indicator: str) -> None:
    text = MANIFEST.replace("|", indicator, 1)
    assert places(text) == [(13, 15, "peers[0].my-asn")]


def test_a_valid_manifest_gives_its_configuration() -> None:
    result = load(MANIFEST.replace("my-asn: 0", "my-asn: 1"))
    assert result.config is not None
    assert [peer.my_asn for peer in result.config.peers] == [1]


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ('"peers:\\n- peer-address: 10.0.0.1\\n  peer-asn: 1\\n  my-asn: 0\\n"', 4),
        ("'peers: [{peer-address: 10.0.0.1, peer-asn: 1,\n\n\n    my-asn: 0}]'", 3),
        (">\n    peers:\n\n    - peer-address: 10.0.0.1\n      peer-asn: 1\n      my-asn: 0\n", 4),
    ],
)
def test_problems_of_a_quoted_or_folded_value_point_at_the_key(value: str, line: int) -> None:
    text = f"kind: ConfigMap\ndata:\n  other: x\n  config.yaml: {value}\n"
    problems = load(text, "f").problems
    assert [(problem.line, problem.path) for problem in problems] == [(4, "peers[0].my-asn")]
    assert f"line {line} of the value" in problems[0].problem


def test_a_valid_quoted_value_gives_its_configuration() -> None:
    result = load('kind: ConfigMap\ndata: {config.yaml: "peers: []"}\n')
    assert (result.problems, result.config) == ((), Config())
    key = ObjectKey("kube-system", "bgp-config")
    assert parse_config_map(ConfigMap(key=key, data={"config.yaml": "peers: []"})).config == Config()


def test_json_manifests_are_read() -> None:
    text = '{"kind": "ConfigMap",\n "data": {"config.yaml": "peers: 1"}}'
    assert [(problem.line, problem.path) for problem in load(text).problems] == [(2, "peers")]


def test_the_one_map_with_the_key_is_taken_from_several_objects() -> None:
    objects = [
        "kind: Namespace\nmetadata: {name: x}\n",
        "kind: ConfigMap\ndata: {other: x}\n",
        MANIFEST.replace("my-asn: 0", "my-asn: 7"),
    ]
    result = load("---\n".join(objects))
    assert result.config is not None
    assert result.config.peers[0].my_asn == 7


def test_a_list_of_objects_is_searched() -> None:
    block = "\n".join("  " + line for line in MANIFEST.splitlines())
    text = "kind: List\nitems:\n-" + block[1:] + "\n"
    assert [(line, path) for line, _, path in places(text)] == [(15, "peers[0].my-asn")]


@pytest.mark.parametrize(
    ("text", "line", "problem", "hint"),
    [
        ("kind: Service\n", 1, "this is a Kubernetes Service, not a bgp-config", "a ConfigMap that holds one"),
        ("# x\nkind: ConfigMap\ndata: {config: x}\n", 2, 'has no key "config.yaml" under data', "it has config"),
        ("kind: ConfigMap\n", 1, 'has no key "config.yaml" under data', "no data"),
        ("kind: ConfigMap\ndata:\n  config.yaml: {peers: []}\n", 3, "must be text", "|"),
        (f"{MANIFEST}---\n{MANIFEST}", 15, "several ConfigMaps have the key", "one of them"),
        ("kind: ConfigMap\nkind: ConfigMap\n", 2, "stands twice", "keep one"),
    ],
)
def test_a_manifest_without_exactly_one_configuration_is_refused(text: str, line: int, problem: str, hint: str) -> None:
    result = load(text, "f")
    assert result.config is None
    assert [found.line for found in result.problems] == [line]
    assert problem in result.problems[0].problem
    assert hint in result.problems[0].hint


def test_a_config_map_object_knows_its_lines() -> None:
    key = ObjectKey("kube-system", "bgp-config")
    bad = ConfigMap(key=key, data={"config.yaml": "peers: []\nfoo: 1\n"}, file="f", lines={"config.yaml": 8})
    assert [(problem.file, problem.line) for problem in parse_config_map(bad).problems] == [("f", 9)]
    unknown = ConfigMap(key=key, data={"config.yaml": "peers: []\nfoo: 1\n"})
    problems = parse_config_map(unknown).problems
    assert [problem.line for problem in problems] == [0]
    assert "line 2 of the value" in problems[0].problem
    missing = parse_config_map(ConfigMap(key=key, data={"other": ""}))
    assert missing.config is None
    assert 'kube-system/bgp-config has no key "config.yaml"' in missing.problems[0].problem
