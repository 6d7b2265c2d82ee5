"""How packets of a Service reach other nodes: what the installation says, and what the Service says."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from announcer.cli.main import cli
from announcer.decide import decide
from announcer.inputs import absorb
from announcer.model.desired import Desired
from announcer.model.lb import LbMode, Mode, PortRange
from announcer.model.names import LB_MODE_ANNOTATION
from announcer.model.net import Protocol
from announcer.sources.events import Replace
from tests.announcer.build import endpoints, key, service, snapshot

PORTS = [("http", Protocol.TCP, 80), ("dns", Protocol.UDP, 53), ("m3ua", Protocol.SCTP, 2905)]
DSR, SNAT, GENEVE = Mode.DSR, Mode.SNAT, Mode.GENEVE


def decided(installation: LbMode, annotation: str | None = None) -> Desired:
    annotations = {} if annotation is None else {LB_MODE_ANNOTATION: annotation}
    ports = [(name, protocol, port + 8000) for name, protocol, port in PORTS]
    web = service(ports=PORTS, annotations=annotations)
    return decide(snapshot(web, endpoints("web", "10.244.2.10", ports=ports), lb_mode=installation))


@pytest.mark.parametrize(
    ("installation", "annotation", "tcp", "udp", "sctp"),
    [
        (LbMode.DSR, None, DSR, DSR, DSR),
        (LbMode.SNAT, None, SNAT, SNAT, SNAT),
        (LbMode.HYBRID, None, DSR, SNAT, DSR),
        (LbMode.DSR, "snat", SNAT, SNAT, SNAT),
        (LbMode.SNAT, "dsr", DSR, DSR, DSR),
        (LbMode.SNAT, "hybrid", DSR, SNAT, DSR),
        (LbMode.HYBRID, "snat", SNAT, SNAT, SNAT),
        (LbMode.GENEVE, None, GENEVE, GENEVE, GENEVE),
        (LbMode.HYBRID_GENEVE, None, GENEVE, SNAT, GENEVE),
        (LbMode.DSR, "geneve", GENEVE, GENEVE, GENEVE),
        (LbMode.SNAT, "hybrid-geneve", GENEVE, SNAT, GENEVE),
        (LbMode.GENEVE, "dsr", DSR, DSR, DSR),
        (LbMode.HYBRID_GENEVE, "hybrid", DSR, SNAT, DSR),
    ],
)
def test_the_annotation_wins_over_the_installation(
    installation: LbMode, annotation: str | None, tcp: Mode, udp: Mode, sctp: Mode
) -> None:
    desired = decided(installation, annotation)
    found = {frontend.protocol: each.mode for frontend, each in desired.frontends.items()}
    assert found == {Protocol.TCP: tcp, Protocol.UDP: udp, Protocol.SCTP: sctp}
    assert desired.services[key("web")].notes == ()


@pytest.mark.parametrize("word", ["vxlan", "Geneve", "SNAT", ""])
def test_a_mode_that_there_is_not_is_a_note(word: str) -> None:
    desired = decided(LbMode.SNAT, word)
    assert {each.mode for each in desired.frontends.values()} == {SNAT}
    (note,) = desired.services[key("web")].notes
    said = f'annotation lockstep/lb-mode: "{word}" is not one of dsr, geneve, snat, hybrid, hybrid-geneve'
    assert note == f"{said}; snat holds, as on the whole node"


def test_the_mode_of_the_installation_outlives_what_a_source_says() -> None:
    seen = snapshot(lb_mode=LbMode.HYBRID)
    assert absorb(seen, Replace(), seen.config, standalone=True).lb_mode is LbMode.HYBRID


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--lb-mode", "dnat"], "--lb-mode: dnat is not one of dsr, geneve, snat, hybrid, hybrid-geneve"),
        (["--lb-mode", "geneve-hybrid"], "--lb-mode: geneve-hybrid is not one of dsr, geneve, snat, hybrid, hybrid-"),
        (["--lb-mode", "geneve", "--no-datapath"], "--lb-mode: geneve is for Lockstep's own programs"),
        (["--lb-mode", "snat", "--no-datapath"], "--lb-mode: snat is for Lockstep's own programs"),
        (["--snat-ports", "61000"], '--snat-ports: "61000" is not FIRST-LAST'),
        (["--snat-ports", "65000-61000"], "--snat-ports: 65000-61000 does not lie within 1024-65535"),
        (["--snat-ports", "80-90"], "--snat-ports: 80-90 does not lie within"),
        (["--snat-ports", "61000-65536"], "--snat-ports: 61000-65536 does not lie within"),
    ],
)
def test_wrong_use_is_said_in_words(arguments: list[str], problem: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["run", "--source", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert problem in result.output


def test_a_range_of_ports_is_what_was_written() -> None:
    assert PortRange.parse("1024-65535") == (1024, 65535)
    assert str(PortRange.parse("61000-61000")) == "61000-61000"
