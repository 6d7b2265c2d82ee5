"""The rules of path attributes and of ``pod-cidrs``, each with an example that keeps it and one that breaks it."""

from __future__ import annotations

from tests.announcer.config.examples import Rule, advertisement

PEERS = """\
peers:
- {peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2}
- {peer-address: 10.0.0.2, peer-asn: 1, my-asn: 2}
- {peer-address: 10.0.0.2, peer-asn: 1, my-asn: 2, peer-port: 1179}
- {peer-address: "2001:db8::1", peer-asn: 1, my-asn: 2}
"""


def _rule(name: str, valid: str, invalid: str, key: str, problem: str, hint: str) -> Rule:
    """A rule of one advertisement beside the peers above."""
    path = f"address-pools[0].bgp-advertisements[0]{key}"
    return Rule(
        name, PEERS + advertisement(f"- {valid}"), PEERS + advertisement(f"- {invalid} # <-"), path, problem, hint
    )


def _same_prefix(name: str, valid: tuple[str, str], invalid: tuple[str, str]) -> Rule:
    valid_text, invalid_text = (
        PEERS + advertisement("".join(f"- {{peers: {peers}}} # <-\n" for peers in texts)) for texts in (valid, invalid)
    )
    path = "address-pools[0].bgp-advertisements[1]"
    return Rule(
        name, valid_text, invalid_text, path, "makes the same IPv4 prefixes (/32) as item 0", "peers of their own"
    )


ATTRIBUTE_RULES = [
    _rule("med", "med: 0", "med: -1", ".med", "is not a whole number", ""),
    _rule("med range", "med: 4294967295", "med: 4294967296", ".med", "out of range", "from 0 to 4294967295"),
    _rule("prepend", "as-path-prepend: 10", "as-path-prepend: 11", ".as-path-prepend", "out of range", "from 0 to 10"),
    *(
        _rule(f"origin {bad}", f"origin: {good}", f"origin: {bad}", ".origin", why, "write igp or incomplete")
        for good, bad, why in (
            ("igp", "egp", '"egp" is not an origin'),
            ("incomplete", "IGP", '"IGP" is not an origin'),
        )
    ),
    *(
        _rule(f"large {bad}", f"large-communities: [{good}]", f"large-communities: [{bad}]", key, why, do)
        for key in (".large-communities[0]",)
        for good, bad, why, do in (
            ('"4294967295:0:1"', '"4294967296:0:1"', "is out of range", "at most 4294967295"),
            ("64512:1:100", '"64512:100"', "is not a large community", '"64512:1:100"'),
            ('"1:2:3"', "1:2:3", "is the number 3723 to many YAML parsers", 'write "1:2:3"'),
            ('"1:2:3"', "no-export", "is not a large community", "three numbers"),
        )
    ),
    _rule(
        "large once",
        'large-communities: ["1:2:3", "1:2:4"]',
        'large-communities: ["1:2:3", "1:02:3"]',
        ".large-communities[1]",
        "the community 1:2:3 is already item 0",
        "remove one",
    ),
    _rule(
        "63 large",
        f"large-communities: {[f'1:1:{n}' for n in range(63)]}",
        f"large-communities: {[f'1:1:{n}' for n in range(64)]}",
        ".large-communities",
        "64 large communities are too many",
        "at most 63",
    ),
    _rule(
        "well-known once",
        'communities: [no-export, "65535:65282"]',
        'communities: [no-export, "65535:65281"]',
        ".communities[1]",
        "the community 65535:65281 is already item 0",
        "remove one",
    ),
    _rule(
        "peers exist", "peers: [10.0.0.1]", "peers: [10.0.0.9]", ".peers[0]", "is not a peer of this file", "10.0.0.1"
    ),
    _rule(
        "peers port",
        'peers: ["10.0.0.2:1179"]',
        'peers: ["10.0.0.2:1178"]',
        ".peers[0]",
        '"10.0.0.2:1178" is not a peer of this file',
        "10.0.0.2:1179",
    ),
    _rule(
        "peers once",
        'peers: ["2001:DB8::1"]',
        'peers: ["2001:DB8::1", "2001:db8:0::1"]',
        ".peers[1]",
        "the peer 2001:db8::1 is already item 0",
        "remove one",
    ),
    _rule("peers is a list", "peers: []", "peers: 10.0.0.1", ".peers", "must be a list of peers", "- "),
    _rule(
        "selectors of an advertisement",
        "node-selectors: [{match-labels: {rack: a}}]",
        "node-selectors: [{labels: {rack: a}}]",
        ".node-selectors[0].labels",
        "is not a key here",
        '"match-labels"',
    ),
    _same_prefix("same prefix, peers", ("[10.0.0.1]", "[10.0.0.2]"), ("[10.0.0.1]", "[10.0.0.2, 10.0.0.1]")),
    _same_prefix("same prefix, all peers", ("[10.0.0.1]", '["2001:db8::1"]'), ("[10.0.0.1]", "[]")),
    _same_prefix(
        "same prefix, one address",
        ('["10.0.0.2:179"]', '["10.0.0.2:1179"]'),
        ('["10.0.0.2:179"]', "[10.0.0.2]"),
    ),
]


def _pod_cidrs(name: str, valid: str, invalid: str, key: str, problem: str, hint: str) -> Rule:
    return Rule(
        name, PEERS + f"pod-cidrs: {valid}", PEERS + f"pod-cidrs: {invalid} # <-", f"pod-cidrs{key}", problem, hint
    )


POD_CIDR_RULES = [
    _pod_cidrs("pod-cidrs is a map", "{announce: false}", "false", "", "must be a map, not a single value", "announce"),
    _pod_cidrs("announce", "{announce: true}", "{announce: 1}", ".announce", "neither true nor false", "true or false"),
    _pod_cidrs(
        "no lengths",
        "{localpref: 100, med: 5, as-path-prepend: 1}",
        "{aggregation-length: 24}",
        ".aggregation-length",
        "is not a key here",
        "the keys here are announce, localpref",
    ),
    _pod_cidrs(
        "pod-cidrs communities",
        '{communities: [no-advertise], large-communities: ["1:2:3"]}',
        "{communities: [nothing]}",
        ".communities[0]",
        "is not a name in bgp-communities",
        "",
    ),
    _pod_cidrs("pod-cidrs peers", "{peers: [10.0.0.2]}", "{peers: [a]}", ".peers[0]", "is not a peer of this file", ""),
    *(
        _pod_cidrs(f"pod-cidrs {key}", f"{{{key}: {right}}}", f"{{{key}: {wrong}}}", f".{key}{item}", problem, "")
        for key, right, wrong, item, problem in (
            ("localpref", "0", "-1", "", "is not a whole number"),
            ("med", "0", "4294967296", "", "out of range"),
            ("as-path-prepend", "10", "11", "", "out of range"),
            ("origin", "incomplete", "egp", "", "is not an origin"),
            ("large-communities", '["1:2:3"]', '["1:2"]', "[0]", "is not a large community"),
        )
    ),
]
