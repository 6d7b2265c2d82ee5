"""``lockstep check --dialect``: what each original would have refused, misread or done differently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from announcer.cli.check import check
from announcer.config import load
from announcer.config.originals import Dialect, inspect

ALL = set(Dialect)
CILIUM = {Dialect.CILIUM_1_10, Dialect.CILIUM_1_11}
M9, M10, M11, M12 = Dialect.METALLB_0_9, Dialect.METALLB_0_10, Dialect.METALLB_0_11, Dialect.METALLB_0_12

IBGP = "peers: [{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 1}]\n"


def peer(keys: str) -> str:
    return f"peers:\n- {{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2, {keys}}}\n"


def pool(keys: str, addresses: str = "10.9.0.0/24") -> str:
    return f"address-pools:\n- {{name: a, protocol: bgp, addresses: [{addresses}], {keys}}}\n"


def two_pools(first: str, second: str) -> str:
    return f"""\
address-pools:
- {{name: a, protocol: bgp, addresses: [10.3.0.1-10.3.0.9], bgp-advertisements: [{{aggregation-length: 30{first}}}]}}
- {{name: b, protocol: bgp, addresses: [10.3.0.10-10.3.0.20], bgp-advertisements: [{{aggregation-length: 30{second}}}]}}
"""


def who(text: str, line: int, path: str, words: str) -> set[Dialect]:
    """The originals about which these words are said at this place."""
    return {
        dialect
        for dialect in Dialect
        if any(words in one.text and (one.line, one.path) == (line, path) for one in inspect(text, dialect))
    }


REFUSED = "refused the whole file because of this key"
ADVERTISEMENT = "address-pools[0].bgp-advertisements[0]"

CASES = [
    ("pod-cidrs: {}", 1, "pod-cidrs", REFUSED + "; no original knows it", ALL),
    ("bfd-profiles: []", 1, "bfd-profiles", REFUSED + "; metallb-0.12 was the first", ALL - {M12}),
    ("bfd-profiles: []", 1, "bfd-profiles", "took it in FRR mode only", {M12}),
    ("peers: []", 1, "peers", REFUSED, set()),
    (peer("source-address: 10.0.0.2"), 2, "peers[0].source-address", REFUSED, ALL - {M11, M12}),
    (peer("keepalive-time: 30s"), 2, "peers[0].keepalive-time", REFUSED, ALL - {M12}),
    (peer("keepalive-time: 30s"), 2, "peers[0].keepalive-time", "native mode refused the file", {M12}),
    (peer("ebgp-multihop: true"), 2, "peers[0].ebgp-multihop", "ignored it in its native mode", {M12}),
    (peer("bfd-profile: a"), 2, "peers[0].bfd-profile", "took it in FRR mode only", {M12}),
    *(
        (peer(f"{key}: x"), 2, f"peers[0].{key}", REFUSED + "; no original knows it", ALL)
        for key in ("password-secret", "ttl-security", "graceful-restart", "families", "passive", "connect-port")
    ),
    *(
        (peer(f"{key}: x"), 2, f"peers[0].{key}", REFUSED, set())
        for key in ("hold-time", "router-id", "node-selectors", "password", "peer-port", "zzz")
    ),
    (peer("password: x"), 2, "peers[0].password", "in clear text in the ConfigMap", ALL),
    (peer("router-id: '::1'"), 2, "peers[0].router-id", "used the default router ID", ALL),
    (peer("router-id: 10.0.0.1"), 2, "peers[0].router-id", "used the default router ID", set()),
    (peer(""), 2, "peers[0].ebgp-multihop", "was always multihop", ALL),
    (peer("ttl-security: false"), 2, "peers[0].ebgp-multihop", "with TTL 255 (GTSM)", set()),
    (peer("ebgp-multihop: true"), 2, "peers[0].ebgp-multihop", "Lockstep expects", set()),
    (IBGP, 1, "peers[0].ebgp-multihop", "was always multihop", set()),
    ("peers:\n- {peer-address: '::1'}", 2, "peers[0].peer-address", "IPv4 routes that it could not read", ALL),
    ("peers:\n- {peer-address: '::1', families: [ipv6]}", 2, "peers[0].peer-address", "could not read", set()),
    (peer(""), 2, "peers[0].peer-address", "could not read", set()),
    (peer("") + pool(""), 4, "address-pools[0].origin", "sent ORIGIN incomplete", ALL),
    (pool("bgp-advertisements: [{}]"), 2, f"{ADVERTISEMENT}.origin", "sent ORIGIN incomplete", set()),
    (IBGP + pool("bgp-advertisements: [{}]"), 3, f"{ADVERTISEMENT}.origin", "sent ORIGIN incomplete", ALL),
    (IBGP + pool("bgp-advertisements: [{origin: incomplete}]"), 3, f"{ADVERTISEMENT}.origin", "ORIGIN inc", set()),
    (IBGP, 1, "peers", "did not enforce the hold time", ALL),
    (IBGP, 1, "pod-cidrs", "never announced the Pod CIDRs", ALL - {Dialect.CILIUM_1_11}),
    (IBGP, 1, "pod-cidrs", "only with bgp-announce-pod-cidr", {Dialect.CILIUM_1_11}),
    (IBGP + "pod-cidrs: {}", 1, "pod-cidrs", "Lockstep does", set()),
    (peer("") + peer("")[7:], 3, "peers[1]", "ran two sessions with one peer", {M9}),
    (peer("") + peer("hold-time: 3s")[7:], 3, "peers[1]", "ran two sessions with one peer", ALL),
    (peer("") + peer("peer-port: 180")[7:], 3, "peers[1]", "ran two sessions with one peer", set()),
    (peer("") + peer("hold-time: 3s")[7:], 3, "peers[1]", "FRR mode refused two peers with one peer-address", {M12}),
    (peer("") + peer("router-id: 1.1.1.1")[7:], 3, "peers[1].router-id", "refused peers that differ", {M12}),
    (pool("", "10.9.0.5/24"), 2, "address-pools[0].addresses[0]", "for the whole of 10.9.0.0/24", ALL),
    (pool("", "10.9.0.0/24"), 2, "address-pools[0].addresses[0]", "for the whole", set()),
    (pool("", "10.9.0.9-10.9.0.1"), 2, "address-pools[0].addresses[0]", "no addresses at all", CILIUM | {M9, M10}),
    (pool("", "'10.9.0.9-::1'"), 2, "address-pools[0].addresses[0]", "no addresses at all", CILIUM | {M9, M10}),
    (pool("", "10.9.0.1-10.9.0.9"), 2, "address-pools[0].addresses[0]", "", set()),
    (pool("", "10.9.0.1-10.9.0.1"), 2, "address-pools[0].addresses[0]", "two addresses or more", {M11}),
    (pool("", "'2001:db8::/64'"), 2, "address-pools[0].addresses[0]", "could not announce IPv6", ALL - {M12}),
    (pool("", "'2001:db8::/64'"), 2, "address-pools[0].addresses[0]", "refused IPv6", {M12}),
    ("address-pools: [{protocol: layer2}]", 1, "address-pools[0].protocol", "never announced them", CILIUM),
    ("address-pools: [{protocol: layer2}]", 1, "address-pools[0].protocol", "answered ARP", ALL - CILIUM),
    (IBGP + pool(""), 3, "address-pools[0].localpref", "sent LOCAL_PREF 0", ALL),
    (IBGP + pool("bgp-advertisements: [{}]"), 3, f"{ADVERTISEMENT}.localpref", "sent LOCAL_PREF 0", ALL),
    (IBGP + pool("bgp-advertisements: [{localpref: 0}]"), 3, f"{ADVERTISEMENT}.localpref", "sent LOCAL_PREF 0", set()),
    (peer("") + pool(""), 4, "address-pools[0].localpref", "sent LOCAL_PREF 0", set()),
    *(
        (pool(f"bgp-advertisements: [{{{key}: 1}}]"), 2, f"{ADVERTISEMENT}.{key}", REFUSED + "; no original", ALL)
        for key in ("med", "as-path-prepend", "origin", "large-communities", "peers", "node-selectors")
    ),
    (
        pool("bgp-advertisements: [{aggregation-length-v6: 64}]"),
        2,
        f"{ADVERTISEMENT}.aggregation-length-v6",
        REFUSED,
        ALL - {M12},
    ),
    (
        pool("bgp-advertisements: [{aggregation-length: 30}]", "10.9.0.8-10.9.0.12"),
        2,
        f"{ADVERTISEMENT}.aggregation-length",
        "a /32 is in the pool",
        ALL - {M12},
    ),
    (
        pool("bgp-advertisements: [{aggregation-length: 30}]", "10.9.0.8-10.9.0.15"),
        2,
        f"{ADVERTISEMENT}.aggregation-length",
        "is in the pool",
        set(),
    ),
    (
        pool("bgp-advertisements: [{communities: [no-export]}]"),
        2,
        f"{ADVERTISEMENT}.communities[0]",
        "no well-known names",
        ALL,
    ),
    (
        pool("bgp-advertisements: [{communities: [no-export]}]") + "bgp-communities: {no-export: '1:2'}",
        2,
        f"{ADVERTISEMENT}.communities[0]",
        "no well-known names",
        set(),
    ),
    (
        pool("bgp-advertisements: [{communities: ['1:2', '1:2']}]"),
        2,
        f"{ADVERTISEMENT}.communities[1]",
        "took it twice",
        ALL - {M12},
    ),
    (
        pool("bgp-advertisements: [{communities: [65000:10]}]"),
        2,
        f"{ADVERTISEMENT}.communities[0]",
        "read it as the community 65000:10",
        ALL,
    ),
    (
        pool("bgp-advertisements: [{localpref: 1}, {localpref: 2}]"),
        2,
        "address-pools[0].bgp-advertisements[1]",
        "sent the one or the other",
        ALL,
    ),
    (
        pool("bgp-advertisements: [{localpref: 1}, {localpref: 1}]"),
        2,
        "address-pools[0].bgp-advertisements[1]",
        "the second changed nothing",
        ALL - {M12},
    ),
    (two_pools("", ", localpref: 3"), 3, "address-pools[1].bgp-advertisements[0]", "announced 10.3.0.8/30, which", ALL),
    (two_pools("", ""), 3, "address-pools[1].bgp-advertisements[0]", "announced 10.3.0.8/30, which", set()),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[2]} {case[3]}"[:70])
def test_each_difference_is_said_of_the_originals_that_had_it(case: tuple[str, int, str, str, set[Dialect]]) -> None:
    text, line, path, words, dialects = case
    assert who(text, line, path, words) == dialects


@pytest.mark.parametrize("name", ["minimal", "ranges", "communities"])
def test_files_that_every_original_took_are_not_said_to_have_been_refused(name: str) -> None:
    text = (Path(__file__).parents[3] / "configs" / "bgp-config" / f"{name}.yaml").read_text()
    assert load(text).config is not None
    for dialect in Dialect:
        remarks = [one.text for one in inspect(text, dialect)]
        assert remarks
        assert [text for text in remarks if "refused the whole file" in text] == []


def run(text: str, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(check, ["-", *arguments], input=text)
    return result.exit_code, result.output


def test_a_refusal_says_what_the_original_did_and_auto_does_not() -> None:
    text = pool("", "10.9.0.5/24")
    code, output = run(text, "--dialect", "cilium-1.11")
    hint = "write 10.9.0.0/24 for the whole network, 10.9.0.5/32 for one address"
    assert code == 1
    assert output.splitlines() == [
        "<stdin>:2:40: address-pools[0].addresses[0]: 10.9.0.5/24 has host bits set",
        f"    {hint}. cilium-1.11 took it silently for the whole of 10.9.0.0/24",
        "<stdin>: not valid, 1 problem",
    ]
    assert "cilium" not in run(text)[1]
    problem = json.loads(run(text, "--dialect", "metallb-0.9", "--json")[1])["problems"][0]
    assert problem["hint"].endswith("metallb-0.9 took it silently for the whole of 10.9.0.0/24")


def test_remarks_change_no_exit_code_and_stand_in_the_json() -> None:
    text = IBGP + "pod-cidrs: {}\n"
    code, output = run(text, "--dialect", "metallb-0.9", "--json")
    assert code == 0
    answer = json.loads(output)
    assert answer["ok"] is True
    assert answer["summary"]["remarks"] == 2
    assert answer["remarks"][0]["path"] == "peers"
    assert answer["remarks"][1] == {
        "line": 2,
        "path": "pod-cidrs",
        "text": "metallb-0.9 refused the whole file because of this key; no original knows it",
    }
    assert run(text, "--dialect", "metallb-0.9")[1].splitlines()[1:] == [
        "<stdin>:2: pod-cidrs: remark: metallb-0.9 refused the whole file because of this key; no original knows it",
        "<stdin>: valid: 1 peer, 0 pools, 2 remarks",
    ]
    assert json.loads(run(text, "--json")[1])["remarks"] == []


@pytest.mark.parametrize(
    ("manifest", "line"),
    [
        ("kind: ConfigMap\ndata:\n  config.yaml: |\n    # x\n    pod-cidrs: {}\n", 5),
        ('kind: ConfigMap\ndata:\n  config.yaml: "# x\\npod-cidrs: {}"\n', 3),
    ],
)
def test_lines_are_those_of_the_manifest(manifest: str, line: int) -> None:
    assert [(one.line, one.path) for one in inspect(manifest, M9)] == [(line, "pod-cidrs")]


def test_there_are_at_most_200_remarks() -> None:
    peers = "".join(f"- {{peer-address: 10.0.{n // 250}.{n % 250}, peer-asn: 1, my-asn: 2}}\n" for n in range(500))
    assert len(inspect("peers:\n" + peers, M9)) == 200
