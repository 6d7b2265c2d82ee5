"""Every rule of the dialect with an example that keeps it and one that breaks it.

``# <-`` marks the line that the problem must name.
"""

from __future__ import annotations

from textwrap import dedent, indent
from typing import NamedTuple


class Rule(NamedTuple):
    name: str
    valid: str
    invalid: str
    path: str
    problem: str
    hint: str


def peer(text: str, *, without: str = "") -> str:
    """A file with one peer that is valid but for ``text``; ``without`` leaves a required key out."""
    keys = {"peer-address": "10.0.0.1", "peer-asn": "64512", "my-asn": "64512"}
    lines = [f"{key}: {value}" for key, value in keys.items() if key not in (without, text.split(":")[0])]
    return _item("peers", [*lines, *dedent(text).strip("\n").split("\n")])


def pool(text: str, *, without: tuple[str, ...] = ()) -> str:
    """A file with one pool of two prefixes that is valid but for ``text``."""
    keys = {"name": "default", "protocol": "bgp", "addresses": "[192.0.2.0/24]"}
    lines = [f"{key}: {value}" for key, value in keys.items() if key not in (*without, text.split(":")[0])]
    return _item("address-pools", [*lines, *dedent(text).strip("\n").split("\n")])


def _item(key: str, lines: list[str]) -> str:
    """A list of one map, whose first line is marked; where ``lines`` have a mark, that one counts (the last)."""
    return f"{key}:\n- {lines[0]} # <-\n" + indent("\n".join(lines[1:]), "  ") + "\n"


def selector(text: str) -> str:
    return peer("node-selectors:\n- " + text)


def advertisement(text: str) -> str:
    return pool("bgp-advertisements:\n" + text)


def addresses(*items: str) -> str:
    return pool("addresses:\n" + "\n".join(f"- {item}" for item in items))


TWO_PEERS = "peers:\n- {{peer-address: 10.0.0.1, peer-asn: 1, my-asn: 2}}\n- {{peer-address: {}}} # <-\n"
TWO_POOLS = """\
address-pools:
- {{name: one, protocol: bgp, addresses: [192.0.2.0/25]}}
- {{name: {}, protocol: bgp, addresses: [{}]}} # <-
"""

TOP_RULES = [
    Rule("top level is a map", "peers: []", "- a # <-", "", "must be a map, not a list", "peers, address-pools"),
    Rule("top level key is known", "peers: []", "peer: [] # <-", "peer", '"peer" is not a key here', '"peers"'),
    Rule("no near key", "peers: []", "zzz: 1 # <-", "zzz", "is not a key here", "the keys here are peers,"),
    Rule("peers is a list", "peers:", "peers: {a: 1} # <-", "peers", "must be a list of peers, not a map", '"- "'),
    Rule(
        "a peer is a map",
        "peers: []",
        "peers: [a] # <-",
        "peers[0]",
        "must be a map, not a single value",
        "peer-address",
    ),
    Rule(
        "one key once", "peers: []", "peers: []\npeers: [] # <-", "peers", "stands twice, first in line 1", "keep one"
    ),
    Rule("one document", "---\npeers: []\n---\n", "peers: []\n---\npeers: [] # <-", "", "second YAML document", "---"),
    Rule("complete", "peers: []", "peers: [ # <-", "peers[0]", "ends in the middle", "cut off"),
    Rule("no tabs", "peers:\n  []", "peers:\n\t- a # <-", "peers", "a tab is used to indent", "spaces"),
    Rule("syntax", 'peers: []\nbgp-communities: {a: "1:2"}', "peers: }{ # <-", "peers", "not valid YAML", ""),
    Rule("no tags", "peers: []", "peers: !!python/object [] # <-", "peers", "is not supported", "remove it"),
    Rule("aliases exist", "peers: &a []\naddress-pools: *a", "peers: *a # <-", "peers", "does not exist", "write the"),
    Rule("no alias in itself", "peers: []", "peers: &a [*a] # <-", "peers[0]", "stands inside itself", "write the"),
    Rule("keys are words", "peers: []", "? [a] # <-\n: b", "", "a key must be a single word", "quote"),
    Rule("<< takes maps", "<<: {peers: []}", "<<: a # <-", '["<<"]', "merges maps only", "alias"),
    Rule("printable", 'bgp-communities: {"\\a": "1:2"}', "peers: [] # <- \x07", "", "U+0007", "remove it"),
    Rule(
        "depth",
        "peers: []",
        "peers: " + "[" * 80 + " # <-",
        "peers[0][0]",
        "more than 64 levels deep",
        "",
    ),
]

PEER_RULES = [
    Rule("peer-asn range", peer("peer-asn: 1"), peer("peer-asn: 0 # <-"), "peers[0].peer-asn", "out of range", ""),
    Rule("0 is a port", peer("peer-port: 0"), peer("peer-port: -1 # <-"), "peers[0].peer-port", "whole number", ""),
    Rule(
        "address needed", peer(""), peer("", without="peer-address"), "peers[0].peer-address", "is missing", "10.0.0.1"
    ),
    Rule("peer ASN needed", peer(""), peer("", without="peer-asn"), "peers[0].peer-asn", "is missing", "64512"),
    Rule("my ASN needed", peer(""), peer("", without="my-asn"), "peers[0].my-asn", "is missing", "my-asn: 64512"),
    *(
        Rule(f"{wrong} is no key", peer(""), peer(f"{wrong}: 1 # <-"), f"peers[0].{wrong}", "not a key here", right)
        for wrong, right in (("holdTime", '"hold-time"'), ("router_id", '"router-id"'), ("peerport", '"peer-port"'))
    ),
    *(
        Rule(
            f"address {value}",
            peer(f"peer-address: {good}"),
            peer(f"peer-address: {value} # <-"),
            "peers[0].peer-address",
            problem,
            hint,
        )
        for good, value, problem, hint in (
            ("10.0.0.2", "router1.example", "is not an IP address", "names are not looked up"),
            ("2001:db8::1", "2001:db8::g", "is not an IP address", ""),
            ("10.0.0.2", "010.0.0.2", "is not an IP address", "write 10.0.0.2"),
            ("10.0.0.2", "10.0.0.0/24", "is a prefix", "without its length"),
            ("fd00::1", '"fe80::1%eth0"', "has a zone", "without one"),
            ("fd00::1", "fe80::1", "is link-local, so it needs a zone", "global or unique local"),
            ("127.0.0.1", "0.0.0.0", "is not the address of a host", "one machine"),
            ("10.0.0.2", "224.0.0.1", "is not the address of a host", "one machine"),
            ("10.0.0.2", "[10.0.0.2]", "must be a single value, not a list", ""),
            ("10.0.0.2", "null", "has no value", "give it one"),
        )
    ),
    *(
        Rule(f"ASN {value}", peer(f"my-asn: {good}"), peer(f"my-asn: {value} # <-"), "peers[0].my-asn", problem, hint)
        for good, value, problem, hint in (
            ("1", "0", "0 is out of range", "from 1 to 4294967295"),
            ("4294967295", "4294967296", "out of range", "from 1 to 4294967295"),
            ("65546", "1.10", "in dotted form", "write 65546"),
            ("64512", '"64512"', "is text, not a number", "write 64512, without quotes"),
            ("64512", "AS64512", "is not a whole number", "write 64512, without AS"),
            ("64512", "-1", "is not a whole number", ""),
            ("64512", "064512", "begins with a zero", "write 64512"),
            ("64512", "0x10", "is not a whole number", ""),
            ("64512", "1_000", "is not a whole number", ""),
            ("64512", "1e3", "is not a whole number", ""),
            ("64512", "9" * 5000, "is not a whole number", ""),
            ("64512", "٣", "is not a whole number", ""),
        )
    ),
    Rule("port range", peer("peer-port: 65535"), peer("peer-port: 65536 # <-"), "peers[0].peer-port", "range", "65535"),
    *(
        Rule(
            f"hold-time {value}",
            peer(f"hold-time: {good}"),
            peer(f"hold-time: {value} # <-"),
            "peers[0].hold-time",
            problem,
            hint,
        )
        for good, value, problem, hint in (
            ("90s", "90", "has no unit", 'write "90s"'),
            ("3s", "2999ms", "out of range", "0, or from 3s to 65535s"),
            ("0s", "-3s", "is not a duration", "90s"),
            ("18h12m15s", "18h12m16s", "out of range", ""),
            ("1m30s", "1m30", "is not a duration", ""),
            ("1.5m", "1,5m", "is not a duration", ""),
            ("3000000us", "s", "is not a duration", ""),
        )
    ),
    Rule("router-id", peer("router-id: 10.9.9.9"), peer("router-id: '::1' # <-"), "peers[0].router-id", "IPv4", "10.0"),
    Rule(
        "router-id 0",
        peer("router-id: 0.0.0.1"),
        peer("router-id: 0.0.0.0 # <-"),
        "peers[0].router-id",
        "not a",
        "leave",
    ),
    Rule(
        "peer twice",
        TWO_PEERS.format("10.0.0.2, peer-asn: 1, my-asn: 2"),
        TWO_PEERS.format("10.0.0.1, peer-asn: 1, my-asn: 2, hold-time: 30s"),
        "peers[1]",
        "10.0.0.1:179 is already a peer of the same nodes: peers[0], line 2",
        "remove",
    ),
    Rule(
        "session twice",
        TWO_PEERS.format("10.0.0.1, peer-asn: 1, my-asn: 2, peer-port: 1179"),
        TWO_PEERS.format("10.0.0.1, peer-asn: 3, my-asn: 2, peer-port: 0"),
        "peers[1]",
        "is already a peer",
        "",
    ),
    Rule(
        "session twice, selectors",
        TWO_PEERS.format("10.0.0.1, peer-asn: 1, my-asn: 2, node-selectors: [{match-labels: {a: b}}]"),
        TWO_PEERS.format("10.0.0.1, peer-asn: 3, my-asn: 2, node-selectors: []"),
        "peers[1]",
        "is already a peer",
        "",
    ),
]

SELECTOR_RULES = [
    Rule(
        "selector key",
        selector("match-labels: {a: b}"),
        selector("matchLabels: {} # <-"),
        "peers[0].node-selectors[0].matchLabels",
        "is not a key here",
        '"match-labels"',
    ),
    Rule(
        "selectors are a list",
        peer("node-selectors: []"),
        peer("node-selectors: {match-labels: {}} # <-"),
        "peers[0].node-selectors",
        "must be a list of selectors, not a map",
        "",
    ),
    Rule(
        "labels are a map",
        selector("match-labels:"),
        selector("match-labels: [a] # <-"),
        "peers[0].node-selectors[0].match-labels",
        "must be a map of labels",
        "",
    ),
    Rule(
        "label key",
        selector("match-labels: {example.com/a_b: c}"),
        selector('match-labels: {"a b": c} # <-'),
        'peers[0].node-selectors[0].match-labels["a b"]',
        "is not a label key",
        "example.com/rack",
    ),
    Rule(
        "label value",
        selector('match-labels: {a: ""}'),
        selector("match-labels: {a: b/c} # <-"),
        "peers[0].node-selectors[0].match-labels.a",
        "is not a label value",
        "63 letters",
    ),
    Rule(
        "operator",
        selector("match-expressions: [{key: a, operator: Exists}]"),
        selector("match-expressions: [{key: a, operator: exists}] # <-"),
        "peers[0].node-selectors[0].match-expressions[0].operator",
        "is not an operator",
        "In, NotIn, Exists",
    ),
    Rule(
        "In needs values",
        selector("match-expressions: [{key: a, operator: In, values: [b]}]"),
        selector("match-expressions: [{key: a, operator: In}] # <-"),
        "peers[0].node-selectors[0].match-expressions[0]",
        "the operator In needs values",
        "values: [...]",
    ),
    Rule(
        "Exists takes none",
        selector("match-expressions: [{key: a, operator: NotIn, values: [b]}]"),
        selector("match-expressions: [{key: a, operator: DoesNotExist, values: [b]}] # <-"),
        "peers[0].node-selectors[0].match-expressions[0]",
        "takes no values",
        "use In or NotIn",
    ),
    Rule(
        "expression key",
        selector("match-expressions: [{key: a, operator: Exists}]"),
        selector("match-expressions: [{operator: Exists}] # <-"),
        "peers[0].node-selectors[0].match-expressions[0].key",
        "is missing",
        "topology.kubernetes.io/zone",
    ),
]

POOL_RULES = [
    Rule(
        "pools are a list",
        pool(""),
        "address-pools: {name: a} # <-\n",
        "address-pools",
        "must be a list of pools",
        "- ",
    ),
    Rule("a pool is a map", pool(""), "address-pools:\n- a # <-\n", "address-pools[0]", "must be a map", "protocol"),
    Rule(
        "addresses are a list",
        addresses("192.0.2.0/24"),
        pool("addresses: 192.0.2.0/24 # <-"),
        "address-pools[0].addresses",
        "must be a list of prefixes and ranges",
        "- ",
    ),
    Rule(
        "advertisements are a list",
        advertisement("- aggregation-length: 32"),
        pool("bgp-advertisements: {aggregation-length: 32} # <-"),
        "address-pools[0].bgp-advertisements",
        "must be a list of advertisements",
        "- ",
    ),
    Rule(
        "an advertisement is a map",
        advertisement("- {}"),
        advertisement("- 32 # <-"),
        "address-pools[0].bgp-advertisements[0]",
        "must be a map",
        "aggregation-length",
    ),
    Rule("pool name needed", pool(""), pool("", without=("name",)), "address-pools[0].name", "is missing", "default"),
    Rule(
        "protocol needed", pool(""), pool("", without=("protocol",)), "address-pools[0].protocol", "is missing", "bgp"
    ),
    Rule(
        "addresses needed",
        pool(""),
        pool("", without=("addresses",)),
        "address-pools[0].addresses",
        "is missing",
        "192",
    ),
    Rule(
        "addresses, one", pool(""), pool("addresses: [] # <-"), "address-pools[0].addresses", "has no addresses", "192"
    ),
    Rule(
        "layer2",
        pool("protocol: bgp"),
        pool("protocol: layer2 # <-"),
        "address-pools[0].protocol",
        "never announced",
        "bgp",
    ),
    Rule(
        "protocol",
        pool("protocol: bgp"),
        pool("protocol: BGP # <-"),
        "address-pools[0].protocol",
        "not a protocol",
        "bgp",
    ),
    Rule(
        "auto-assign",
        pool("auto-assign: false"),
        pool("auto-assign: maybe # <-"),
        "address-pools[0].auto-assign",
        '"maybe" is neither true nor false',
        "without quotes",
    ),
    Rule(
        "avoid-buggy-ips",
        pool("avoid-buggy-ips: yes"),
        pool('avoid-buggy-ips: "true" # <-'),
        "address-pools[0].avoid-buggy-ips",
        "neither true nor false",
        "without quotes",
    ),
    Rule(
        "readiness",
        pool("readiness: ready"),
        pool("readiness: serving # <-"),
        "address-pools[0].readiness",
        '"serving" is not known here',
        "write ready or ready-then-serving",
    ),
    Rule(
        "zero endpoints",
        pool("zero-endpoints: keep"),
        pool("zero-endpoints: yes # <-"),
        "address-pools[0].zero-endpoints",
        '"yes" is not known here',
        "write withdraw or keep",
    ),
    Rule(
        "connections of endpoints that are not ready",
        pool("not-ready-connections: keep"),
        pool("not-ready-connections: true # <-"),
        "address-pools[0].not-ready-connections",
        '"true" is not known here',
        "write reset or keep",
    ),
    Rule(
        "pool key",
        pool(""),
        pool("adresses: [] # <-", without=("addresses",)),
        "address-pools[0].adresses",
        "is not a key here",
        '"addresses"',
    ),
    Rule(
        "pool name once",
        TWO_POOLS.format("two", "192.0.2.128/25"),
        TWO_POOLS.format("one", "192.0.2.128/25"),
        "address-pools[1].name",
        "already the name of address-pools[0], line 2",
        "name of its own",
    ),
    Rule(
        "pools apart",
        TWO_POOLS.format("two", "192.0.2.128/25"),
        TWO_POOLS.format("two", "192.0.2.100-192.0.2.200"),
        "address-pools[1].addresses[0]",
        '192.0.2.100-192.0.2.127 is in the pool "one" (line 2) and in the pool "two"',
        "one pool only",
    ),
    Rule(
        "pools apart, whole",
        TWO_POOLS.format("two", "192.0.3.0/24"),
        TWO_POOLS.format("two", "192.0.2.7/32"),
        "address-pools[1].addresses[0]",
        "192.0.2.7 is in the pool",
        "",
    ),
    Rule(
        "addresses once",
        addresses("192.0.2.0/25", "192.0.2.128/25"),
        addresses("192.0.2.0/24", "192.0.2.5-192.0.2.6 # <-"),
        "address-pools[0].addresses[1]",
        "192.0.2.5-192.0.2.6 is twice in the pool",
        "one pool only",
    ),
    Rule(
        "overlap with a wider one",
        addresses("10.0.0.0/8", "11.0.0.0/24", "12.0.0.0/24"),
        addresses("10.0.0.0/8", "11.0.0.0/24", "10.1.0.0-10.1.0.1 # <-"),
        "address-pools[0].addresses[2]",
        "twice",
        "",
    ),
    Rule(
        "IPv6 overlap",
        addresses("2001:db8::/64", "192.0.2.0/24"),
        addresses("2001:db8::/64", "2001:db8::/120 # <-"),
        "address-pools[0].addresses[1]",
        "is twice in the pool",
        "",
    ),
    *(
        Rule(
            f"addresses {value}",
            addresses(good),
            addresses(f"{value} # <-"),
            "address-pools[0].addresses[0]",
            problem,
            hint,
        )
        for good, value, problem, hint in (
            ("10.0.0.0/24", "10.0.0.5/24", "has host bits set", "write 10.0.0.0/24 for the whole network, 10.0.0.5/32"),
            ("10.0.0.5-10.0.0.9", "10.0.0.9-10.0.0.5", "is reversed", "write 10.0.0.5-10.0.0.9"),
            ("10.0.0.5 - 10.0.0.5", "10.0.0.5-2001:db8::1", "mixes IPv4 and IPv6", "one range for each"),
            ("10.0.0.5/32", "10.0.0.5", "has no length", "write 10.0.0.5/32"),
            ("2001:db8::5/128", "2001:db8::5", "has no length", "write 2001:db8::5/128"),
            ("10.0.0.0/24", "10.0.0.0/33", "is not a prefix", "192.0.2.0/24"),
            ("10.0.0.0/24", "10.0.0.0/255.255.255.0", "has a netmask", "write 10.0.0.0/24"),
            ("10.0.0.1-10.0.0.9", "10.0.0.1-9", "is not an IP address", "192.0.2.10-192.0.2.20"),
            ("10.0.0.1-10.0.0.9", "default", "is neither a prefix nor a range", "192.0.2.0/24"),
            ("10.0.0.1-10.0.0.9", '"fe80::1%a-fe80::2%a"', "has a zone", "without"),
        )
    ),
]

ADVERTISEMENT_RULES = [
    Rule(
        "advertisement key",
        advertisement("- localpref: 100"),
        advertisement("- local-pref: 100 # <-"),
        "address-pools[0].bgp-advertisements[0].local-pref",
        "is not a key here",
        '"localpref"',
    ),
    Rule(
        "length fits",
        advertisement("- aggregation-length: 24"),
        advertisement("- aggregation-length: 23 # <-"),
        "address-pools[0].bgp-advertisements[0].aggregation-length",
        "/23 is wider than the addresses in line 4 (/24)",
        "at least 24",
    ),
    Rule(
        "length exists",
        advertisement("- aggregation-length: 32"),
        advertisement("- aggregation-length: 33 # <-"),
        "address-pools[0].bgp-advertisements[0].aggregation-length",
        "out of range",
        "from 0 to 32",
    ),
    Rule(
        "length of a range",
        pool("addresses: [10.0.0.8-10.0.0.12]\nbgp-advertisements: [{aggregation-length: 30}]"),
        pool("addresses: [10.0.0.8-10.0.0.12]\nbgp-advertisements: [{aggregation-length: 29}] # <-"),
        "address-pools[0].bgp-advertisements[0].aggregation-length",
        "/29 is wider",
        "at least 30",
    ),
    Rule(
        "length IPv6",
        pool("addresses: ['2001:db8::/64']\nbgp-advertisements: [{aggregation-length-v6: 64}]"),
        pool("addresses: ['2001:db8::/64']\nbgp-advertisements: [{aggregation-length-v6: 63}] # <-"),
        "address-pools[0].bgp-advertisements[0].aggregation-length-v6",
        "/63 is wider",
        "at least 64",
    ),
    Rule(
        "localpref",
        advertisement("- localpref: 4294967295"),
        advertisement("- localpref: 4294967296 # <-"),
        "address-pools[0].bgp-advertisements[0].localpref",
        "out of range",
        "from 0 to 4294967295",
    ),
    Rule(
        "same prefix",
        advertisement("- {aggregation-length: 32}\n- {aggregation-length: 24}"),
        advertisement("- {localpref: 1}\n- {localpref: 2} # <-"),
        "address-pools[0].bgp-advertisements[1]",
        "makes the same IPv4 prefixes (/32) as item 0",
        "different aggregation-length",
    ),
    *(
        Rule(
            f"community {value}",
            advertisement(f"- communities: [{good}]"),
            advertisement(f"- communities: [{value}] # <-"),
            "address-pools[0].bgp-advertisements[0].communities[0]",
            problem,
            hint,
        )
        for good, value, problem, hint in (
            ('"65000:10"', "65000:10", "is the number 3900010 to many YAML parsers", 'write "65000:10"'),
            ("65535:65282", '"65536:1"', "out of range", "at most 65535"),
            ('"0:0"', '"1:2:3:4"', "is not a community", '"64512:100"'),
            ('"1:2"', '"64512:1:100"', "is a large community", '"large-communities"'),
            ('"1:2"', "internal", "is not a name in bgp-communities, nor a well-known one", "defined there: none"),
            ("no-export", "no_export", "nor a well-known one", 'did you mean "no-export"?'),
            ('"1:2"', "64512", "is not a community", "two numbers"),
        )
    ),
    Rule(
        "community once",
        advertisement('- communities: ["1:2", "1:3"]'),
        advertisement('- communities: ["1:2", "01:2"] # <-'),
        "address-pools[0].bgp-advertisements[0].communities[1]",
        "the community 1:2 is already item 0",
        "remove one",
    ),
    Rule(
        "63 communities",
        advertisement(f"- communities: {[f'1:{n}' for n in range(63)]}"),
        advertisement(f"- communities: {[f'1:{n}' for n in range(64)]} # <-"),
        "address-pools[0].bgp-advertisements[0].communities",
        "64 communities are too many",
        "at most 63",
    ),
    Rule(
        "community value",
        'bgp-communities: {a: "1:2"}',
        "bgp-communities:\n  a: 1:2 # <-",
        "bgp-communities.a",
        "is the number 62",
        'write "1:2"',
    ),
    Rule(
        "near alias",
        pool("bgp-advertisements: [{communities: [black]}]") + 'bgp-communities: {black: "1:2"}',
        pool("bgp-advertisements: [{communities: [blak]}] # <-") + 'bgp-communities: {black: "1:2"}',
        "address-pools[0].bgp-advertisements[0].communities[0]",
        '"blak" is not a name in bgp-communities',
        'did you mean "black"?',
    ),
    Rule(
        "communities are a map",
        "bgp-communities:",
        "bgp-communities: [a] # <-",
        "bgp-communities",
        "must be a map of names",
        "",
    ),
]
