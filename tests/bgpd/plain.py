"""ExaBGP as it comes, without a speaker: for negative controls, which show what the speaker is there for."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

import msgspec

from announcer.model.bgp import Neighbor
from bgpd.render import environment, render
from tests.bgpd.rig import Rig


class PlainEngine:
    """One ExaBGP in the speaker's namespace of a rig."""

    def __init__(self, process: subprocess.Popen[bytes], configuration: Path, log: Path) -> None:
        self.process = process
        self.configuration = configuration
        self._log = log

    def log(self) -> str:
        return self._log.read_text()


@contextmanager
def plain_engine(rig: Rig, neighbor: Neighbor, replace: tuple[str, str] = ("", "")) -> Iterator[PlainEngine]:
    """Run it with this neighbor and the environment that a speaker would give it. Its helper swallows everything.

    ``replace``: a statement of the configuration, and what shall stand there instead.
    """
    configuration, log = rig.folder / "plain.conf", rig.folder / "plain.log"
    runnable = msgspec.structs.replace(neighbor, router_id=IPv4Address("10.99.0.1"))
    text = render([runnable], python=Path("/usr/bin/wc"), relay=Path("/dev/stdin"), relay_socket=Path("/dev/null"))
    assert replace[0] in text
    configuration.write_text(text.replace(*replace) if replace[0] else text)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{rig.name}s", sys.executable, "-m", "exabgp", "server", str(configuration)],
            cwd="/", env=environment(os.environ, user="root"), stdout=subprocess.DEVNULL, stderr=errors,
        )  # fmt: skip
    try:
        yield PlainEngine(process, configuration, log)
    finally:
        process.kill()
        process.wait()
