"""Another BIRD beside the lab's router, on an address of its own, so that a node has two peers. It fills no FIB."""

from __future__ import annotations

from tests.lab import Lab, until
from tests.lab.bird import parse_rib, parse_sessions
from tests.lab.network import LAN_BRIDGE
from tests.lab.router import Rib

ADDRESS = "192.168.1.12"
ASN = 64600

_CONFIGURATION = """\
log "{folder}/bird2.log" all;
router id {address};
protocol device {{}}
protocol bgp n1 {{
    local {address} as {asn};
    direct;
    neighbor {node} as 64512;
    passive on;
    strict bind on;
    ttl security on;
    ipv4 {{ import all; export none; }};
}}
"""


class SecondRouter:
    """It takes a session of the first node; eBGP with TTL security."""

    def __init__(self, lab: Lab) -> None:
        """It answers when this returns."""
        self._host = lab.router
        self._node = str(lab.nodes[0].address)
        self._socket = lab.router.folder / "bird2.ctl"
        configuration = lab.router.folder / "bird2.conf"
        configuration.write_text(
            _CONFIGURATION.format(folder=lab.router.folder, address=ADDRESS, asn=ASN, node=self._node)
        )
        self._host.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", LAN_BRIDGE])
        self.process = self._host.popen(["bird", "-f", "-c", configuration, "-s", self._socket])
        until(
            lambda: self._host.run(["birdc", "-s", self._socket, "show", "status"], check=False).returncode == 0, "it"
        )

    def rib(self) -> Rib:
        """What it holds from the node."""
        return parse_rib(self._ask("show route where source = RTS_BGP all"), {"n1": self._node})

    def established(self) -> bool:
        """True while there is a session."""
        return "Established" in parse_sessions(self._ask("show protocols all")).values()

    def shut_down_session(self) -> None:
        """As an operator does it: the router sends a NOTIFICATION (Cease, RFC 4486) and ends the session."""
        self._ask("disable n1")

    def cut_off(self) -> None:
        """From now on nothing that is sent to its address arrives, and nobody is told."""
        rules = f"table ip cut {{ chain in {{ type filter hook input priority 0; ip daddr {ADDRESS} drop; }}; }}"
        self._host.run(["nft", "-f", "-"], input=rules)

    def _ask(self, command: str) -> str:
        return self._host.run(["birdc", "-s", self._socket, *command.split()]).stdout
