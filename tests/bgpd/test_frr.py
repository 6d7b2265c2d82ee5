"""The basics against FRR's bgpd, started directly with a configuration of its own."""

from __future__ import annotations

import os
import pwd
import signal
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from announcer.model.bgp import Route
from announcer.model.steps import Announce, EndOfRib, Withdraw
from tests.bgpd.rig import LOCAL_ASN, ROUTER_ADDRESSES, SPEAKER_ADDRESS, Rig, eventually, neighbor, states, vtysh_json

pytestmark = pytest.mark.root

VIP = IPv4Network("203.0.113.10/32")
CONFIGURATION = f"""\
hostname router
router bgp 65000
 bgp router-id {ROUTER_ADDRESSES[0]}
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor {SPEAKER_ADDRESS} remote-as {LOCAL_ASN}
 neighbor {SPEAKER_ADDRESS} passive
 address-family ipv4 unicast
  neighbor {SPEAKER_ADDRESS} activate
 exit-address-family
"""


@pytest.fixture
def frr() -> Iterator[Path]:
    """A folder that FRR's own user may write to; the path of a Unix socket has to be short."""
    with TemporaryDirectory(prefix="lkb") as folder:
        user = pwd.getpwnam("frr")
        os.chown(folder, user.pw_uid, user.pw_gid)
        yield Path(folder)


def test_basics_against_frr(rig: Rig, frr: Path) -> None:
    (frr / "bgpd.conf").write_text(CONFIGURATION)
    (frr / "vtysh.conf").write_text("")
    rig.in_router(
        f"/usr/lib/frr/bgpd -d -Z -n -S -f {frr}/bgpd.conf -i {frr}/bgpd.pid -z {frr}/zserv --vty_socket {frr}"
        f" -l {ROUTER_ADDRESSES[0]} --log file:{frr}/bgpd.log"
    )
    pid_file = frr / "bgpd.pid"
    eventually(pid_file.exists)
    pid = int(pid_file.read_text())
    try:
        rig.configure(neighbor())
        rig.wait_established()
        route = Route(nlri=VIP, communities=((65000, 10),), local_pref=300)
        assert states(rig.apply(Announce(lane="x", peer="r1", route=route))) == {"done"}
        assert states(rig.apply(EndOfRib(lane="r1", peer="r1", session=1))) == {"done"}
        rig.wait(lambda seen: seen.peers["r1"].end_of_rib == 1 and seen.peers["r1"].rib[VIP].sent)

        show = f"show bgp ipv4 unicast {VIP} json"
        eventually(lambda: "paths" in vtysh_json(rig, frr, show))
        (path,) = vtysh_json(rig, frr, show)["paths"]
        assert path["aspath"]["string"] == str(LOCAL_ASN)
        assert path["origin"] == "IGP"
        assert path["community"]["list"] == ["65000:10"]
        assert [hop["ip"] for hop in path["nexthops"]] == [str(SPEAKER_ADDRESS)]
        assert "locPrf" not in path

        assert states(rig.apply(Withdraw(lane="x", peer="r1", nlri=VIP))) == {"done"}
        eventually(lambda: "paths" not in vtysh_json(rig, frr, show))
        counters = vtysh_json(rig, frr, f"show bgp neighbors {SPEAKER_ADDRESS} json")[str(SPEAKER_ADDRESS)]
        assert counters["bgpState"] == "Established"
        assert counters["messageStats"]["updatesRecv"] == 3
    finally:
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not Path(f"/proc/{pid}").exists())
