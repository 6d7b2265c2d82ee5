"""The pools that the tests give addresses out of."""

from __future__ import annotations

from announcer.config import Config, parse

CONFIG = """\
peers:
- {peer-address: 192.0.2.1, peer-asn: 1, my-asn: 1}
address-pools:
- {name: small, protocol: bgp, addresses: [192.0.2.0/29], avoid-buggy-ips: true}
- {name: manual, protocol: bgp, addresses: [198.51.100.0/24], auto-assign: false}
- {name: six, protocol: bgp, addresses: ["2001:db8::/64"]}
"""


def config(text: str = CONFIG) -> Config:
    result = parse(text)
    assert result.config is not None, result.problems
    return result.config


def pool_of(*addresses: str, more: str = "") -> Config:
    return config(f"address-pools: [{{name: p, protocol: bgp, addresses: [{', '.join(addresses)}]{more}}}]")
