"""BIRD 2 as the lab's router."""

from __future__ import annotations

import re
from collections import defaultdict

from tests.lab.host import Process
from tests.lab.plan import NodePlan, Plan
from tests.lab.router import Rib, RibPath, Router, ordered

_WELL_KNOWN = {
    "(65535,0)": "graceful-shutdown",
    "(65535,666)": "blackhole",
    "(65535,65281)": "no-export",
    "(65535,65282)": "no-advertise",
    "(65535,65283)": "local-as",
    "(65535,65284)": "no-peer",
}

_CONFIGURATION = """\
log "{folder}/bird.log" all;
router id {router_id};
protocol device {{ scan time 10; }}
protocol kernel {{
    learn {learn};
    ipv4 {{ import all; export where source = RTS_BGP; }};
    merge paths on limit 64;
}}
protocol kernel {{
    learn {learn};
    ipv6 {{ import all; export where source = RTS_BGP; }};
    merge paths on limit 64;
}}
{bfd}template bgp node {{
    local {address} as {asn};
    {reach};
    {begin};
    strict bind on;
    ttl security {ttl_security};
    bfd {bfd_on};
{password}    debug {{ states, events, routes }};
{channels}}}
"""


_BFD = 'protocol bfd { interface "*" { interval 100 ms; multiplier 50; }; }\n'
_CONNECTS = "passive off;\n    connect delay time 1;\n    connect retry time 1;\n    error wait time 1, 2"


class BirdRouter(Router):
    """One BIRD process; asked through ``birdc``."""

    def _write_configuration(self) -> None:
        (self.folder / "bird.conf").write_text(render(self.plan, str(self.folder)))

    def _start_daemons(self) -> list[Process]:
        return [self.popen(["bird", "-f", "-c", self.folder / "bird.conf", "-s", self._socket])]

    def _answers(self) -> bool:
        return self.run(["birdc", "-s", self._socket, "show", "status"], check=False).returncode == 0

    def sessions(self) -> dict[str, str]:
        """Return the state of each session by neighbor address."""
        return parse_sessions(self._ask("show protocols all"))

    def rib(self) -> Rib:
        """Return the routes that BIRD holds from its BGP neighbors."""
        peers = {node.name: str(self.plan.node_end(node)) for node in self.plan.nodes}
        return parse_rib(self._ask("show route where source = RTS_BGP all"), peers)

    @property
    def _socket(self) -> str:
        return f"{self.folder}/bird.ctl"

    def _ask(self, command: str) -> str:
        return self.run(["birdc", "-s", self._socket, *command.split()]).stdout


def render(plan: Plan, folder: str) -> str:
    """Return BIRD's configuration: one session for every node, each under the node's name."""

    def session(node: NodePlan) -> str:
        return f"protocol bgp {node.name} from node {{ neighbor {plan.node_end(node)} as {plan.node_asn}; }}\n"

    def channel(family: str) -> str:
        extended = "extended next hop on; " if family == "ipv4" and options.ipv6_next_hop else ""
        return f"    {family} {{ import all; export none; {extended}}};\n"

    options = plan.session
    head = _CONFIGURATION.format(
        folder=folder,
        router_id=plan.router_address,
        bfd=_BFD if options.bfd else "",
        # After an error such as this BIRD refuses connections for a minute.
        bfd_on="on;\n    error wait time 1, 2" if options.bfd else "off",
        address=plan.router_end,
        channels="".join(map(channel, options.families)),
        asn=plan.router_asn,
        # The next hop of a neighbor that is further away is looked up among the routes that the kernel was given.
        learn="on" if options.multihop else "off",
        begin=_CONNECTS if options.connects else "passive on",
        reach="multihop" if options.multihop else "direct",
        ttl_security="on" if plan.ttl_security else "off",
        password=f'    password "{options.password}";\n' if options.password else "",
    )
    return head + "".join(map(session, plan.nodes))


def parse_sessions(text: str) -> dict[str, str]:
    """Read ``show protocols all``. BIRD's Passive is RFC 4271's Active: waiting for the neighbor to connect."""
    states = re.findall(r"BGP state:\s+(\w+)\n\s+Neighbor address:\s+(\S+)", text)
    return {address: "Active" if state == "Passive" else state for state, address in states}


def parse_rib(text: str, peers: dict[str, str]) -> Rib:
    """Read ``show route all``; ``peers`` maps the names of the sessions to the addresses of the neighbors.

    A route begins with its prefix, its kind and ``[session``; only the first of several routes repeats the prefix.
    """
    rib: dict[str, list[RibPath]] = defaultdict(list)
    prefix = ""
    for block in re.split(r"\n(?=[^\t\n])", text):
        head = re.match(r"(\S*) +\w+ \[(\w+) ", block)
        if head:
            prefix = head[1] or prefix
            rib[prefix].append(_path(peers[head[2]], dict(re.findall(r"BGP\.(\w+): ?(.*)", block))))
    return ordered(rib)


def _path(peer: str, attributes: dict[str, str]) -> RibPath:
    def number(name: str) -> int | None:
        return int(attributes[name]) if name in attributes else None

    pairs = re.findall(r"\(\d+,\d+\)", attributes.get("community", ""))
    triples = re.findall(r"\((\d+), ?(\d+), ?(\d+)\)", attributes.get("large_community", ""))
    return RibPath(
        peer=peer,
        next_hop=attributes["next_hop"].split()[0],
        as_path=tuple(int(asn) for asn in attributes.get("as_path", "").split()),
        local_pref=number("local_pref"),
        med=number("med"),
        communities=tuple(_WELL_KNOWN.get(pair, pair.strip("()").replace(",", ":")) for pair in pairs),
        large_communities=tuple(":".join(triple) for triple in triples),
        origin=attributes.get("origin", "").lower(),
    )
