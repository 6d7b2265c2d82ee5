"""A small real network for the speaker: two namespaces joined by a veth pair, the speaker in one, routers in the other.

Everything is named by this process and a counter. ``Rig.close`` removes it; should the test process be killed, a
watcher that holds a pipe to it does the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from announcer.model.bgp import Neighbor, PeerObserved, PeerState
from announcer.model.observed import BgpObserved, Outcome
from announcer.model.steps import AnyStep, ConfigureNeighbors
from bgpd.client import SpeakerClient
from tests.bgpd.capture import Capture
from tests.lab.host import Host, Process, reap

ROOT = Path(__file__).resolve().parents[2]
SPEAKER_ADDRESS = IPv4Address("10.99.0.1")
ROUTER_ADDRESSES = (IPv4Address("10.99.0.2"), IPv4Address("10.99.0.3"))
LOCAL_ASN = 65001

_numbers = itertools.count()
# Ends when its standard input does, which is when the test process does, and removes what may be left.
_WATCHER = """read _; ip netns pids {0}s | xargs -r kill -9; ip netns pids {0}r | xargs -r kill -9
ip netns del {0}s; ip netns del {0}r"""


def neighbor(name: str = "r1", router: int = 0, *, peer_asn: int = 65000, **more: object) -> Neighbor:
    """A neighbor at router ``router`` of the rig."""
    settings = {"local_asn": LOCAL_ASN, "local_address": SPEAKER_ADDRESS, "hold_time": 30} | more
    return Neighbor(name=name, address=ROUTER_ADDRESSES[router], peer_asn=peer_asn, **settings)  # type: ignore[arg-type]


def eventually(true: Callable[[], bool], seconds: float = 15.0, what: str = "") -> None:
    """Return as soon as ``true()``; fail if it is not within ``seconds``."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what or true}"
        time.sleep(0.01)


class Rig:
    """The two namespaces, a speaker on demand, routers on demand, and a client of the speaker."""

    def __init__(self, folder: Path) -> None:
        self.name = f"lkb{os.getpid() % 100000}x{next(_numbers)}"
        self.folder = folder
        self.state_dir = folder / "state"
        self.speaker: subprocess.Popen[bytes] | None = None
        self._runner = asyncio.Runner()
        self._client: SpeakerClient | None = None
        self._processes: list[Process] = []
        self._router = Host("router", self.name + "r", folder, self._processes.append)
        self._watcher = subprocess.Popen(
            ["sh", "-c", _WATCHER.format(self.name)], stdin=subprocess.PIPE, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def __enter__(self) -> Self:
        speaker, router = self.name + "s", self.name + "r"
        commands = [
            f"netns add {speaker}", f"netns add {router}",
            f"-n {speaker} link add eth0 type veth peer name eth0 netns {router}",
            *(f"-n {ns} link set {device} up" for ns in (speaker, router) for device in ("lo", "eth0")),
            f"-n {speaker} address add {SPEAKER_ADDRESS}/24 dev eth0",
            *(f"-n {router} address add {address}/24 dev eth0" for address in ROUTER_ADDRESSES),
        ]  # fmt: skip
        try:
            for command in commands:
                subprocess.run(["ip", *command.split()], check=True)
        except subprocess.CalledProcessError:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._client:
            self._runner.run(self._client.close())
        self._runner.close()
        if kind is not None:
            for log in (self.state_dir / "speaker.log", *self.folder.glob("*.log")):
                print(f"--- {log}\n{log.read_text() if log.exists() else '(none)'}")
        if self.speaker:
            self.speaker.kill()
            self.speaker.communicate()
        assert self._watcher.stdin is not None
        self._watcher.stdin.close()
        self._watcher.wait()
        for process in self._processes:
            reap(process)

    # --- processes ----------------------------------------------------------------------------------------------

    def in_router(self, command: str) -> str:
        """Run ``command`` in the router's namespace; its output."""
        return _in_netns(self.name + "r", command)

    def in_speaker(self, command: str) -> str:
        """Run ``command`` in the speaker's namespace; its output."""
        return _in_netns(self.name + "s", command)

    def start_speaker(self, under: Sequence[str] = (), **settings: float) -> None:
        """Start a speaker with these settings, by the program ``under``, and wait until it answers."""
        more = ", ".join(f"{name}={value}" for name, value in settings.items())
        program = (
            "import asyncio, pathlib, sys; from bgpd.speaker import run_speaker; from bgpd.settings import *; "
            "folder = pathlib.Path(sys.argv[1]); "
            f"settings = SpeakerSettings(state_dir=folder, log_file=folder / 'speaker.log', {more}); "
            "sys.exit(asyncio.run(run_speaker(settings)))"
        )
        self.speaker = self.popen_beside_speaker("-c", program, str(self.state_dir), under=under)
        self.wait(lambda _: True)

    def popen_beside_speaker(self, *arguments: str, under: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start a Python with these arguments in the speaker's namespace."""
        # nsenter becomes the program, so that signals reach it and its parent is this process.
        words = ["nsenter", f"--net=/run/netns/{self.name}s", *under, sys.executable, *arguments]
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path})

    def exabgp_pid(self) -> int:
        """The process id of the ExaBGP that runs now."""
        found = self.exabgp_pids()
        assert len(found) == 1, f"{len(found)} ExaBGP processes"
        return found[0]

    def exabgp_pids(self) -> list[int]:
        """The process ids of all that run below the speaker; the one that ended last may be among them."""
        assert self.speaker is not None
        children = Path(f"/proc/{self.speaker.pid}/task/{self.speaker.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"bgpd.child" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def start_bird(
        self, router: int = 0, *, asn: int = 65000, local_asn: int = LOCAL_ASN, options: str = "", debug: str = "all",
        speaker: str = str(SPEAKER_ADDRESS),
    ) -> Bird:  # fmt: skip
        """Start a BIRD at address ``router``, ready for a session with ``speaker`` as ``local_asn``."""
        return Bird(self, router, asn, f"{speaker} as {local_asn}", options, debug)

    def capture(self, peer: str = "") -> Capture:
        """Record the BGP traffic from now on; only with ``peer``, an address, if it is given."""
        return Capture(self._router, "eth0", self.folder / f"capture{next(_numbers)}.pcap", peer)

    # --- the speaker as an agent sees it ------------------------------------------------------------------------

    @property
    def client(self) -> SpeakerClient:
        """The agent's client."""
        if self._client is None:
            self._client = self._runner.run(_make_client(self.state_dir))
        return self._client

    def replace_client(self) -> None:
        """As a new agent: disconnect, and connect again with the next call."""
        if self._client:
            self._runner.run(self._client.close())
        self._client = None

    def apply(self, *steps: AnyStep) -> list[Outcome]:
        """Have the speaker carry out ``steps``."""
        return self._runner.run(self.client.apply(steps))

    def configure(self, *neighbors: Neighbor) -> Outcome:
        """Have the speaker run ``neighbors``."""
        return self.apply(ConfigureNeighbors(lane="neighbors", neighbors=neighbors))[0]

    def observe(self) -> BgpObserved:
        """Everything the speaker says."""
        return self._runner.run(self.client.observe())

    def peer(self, name: str = "r1") -> PeerObserved:
        """One peer of that."""
        return self.observe().peers[name]

    def wait(self, true: Callable[[BgpObserved], bool], seconds: float = 15.0) -> BgpObserved:
        """Wait for changes until the speaker answers and ``true(observed)``; what was observed then.

        Fails after ``seconds``.
        """
        return self._runner.run(self._wait(self.client, true, seconds))

    def wait_established(self, *names: str, session: int = 1) -> BgpObserved:
        """Wait until these peers are Established in ``session`` or a later one."""

        def up(seen: BgpObserved) -> bool:
            peers = [seen.peers.get(name) for name in names or ("r1",)]
            return all(p and p.state is PeerState.ESTABLISHED and p.session >= session for p in peers)

        return self.wait(up)

    @staticmethod
    async def _wait(client: SpeakerClient, true: Callable[[BgpObserved], bool], seconds: float) -> BgpObserved:
        end = time.monotonic() + seconds
        while True:
            client.changed.clear()
            seen = await client.observe()
            if seen.reachable and true(seen):
                return seen
            assert time.monotonic() < end, f"not within {seconds} s; last seen: {seen}"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.changed.wait(), 0.2)


def _in_netns(netns: str, command: str) -> str:
    words = ["ip", "netns", "exec", netns, *shlex.split(command)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


async def _make_client(state_dir: Path) -> SpeakerClient:
    return SpeakerClient(state_dir / "speaker.sock")


class Bird:
    """A BIRD 2 with one BGP neighbor, passive unless an option says otherwise: the speaker."""

    def __init__(self, rig: Rig, router: int, asn: int, speaker: str, options: str, debug: str) -> None:
        self._rig = rig
        self._control = rig.folder / f"bird{router}.ctl"
        self._pid_file = rig.folder / f"bird{router}.pid"
        configuration = rig.folder / f"bird{router}.conf"
        address = ROUTER_ADDRESSES[router]
        configuration.write_text(
            f'router id {address};\nlog "{rig.folder}/bird{router}.log" all;\nprotocol device {{}}\n'
            f"protocol bgp speaker {{\n local {address} as {asn};\n neighbor {speaker};\n"
            f" passive; debug {debug}; strict bind;\n {options}\n ipv4 {{ import all; export none; }};\n}}\n"
        )
        rig.in_router(f"bird -c {configuration} -s {self._control} -P {self._pid_file}")

    def ask(self, command: str) -> str:
        """The answer of birdc."""
        return self._rig.in_router(f"birdc -s {self._control} {command}")

    def log(self) -> str:
        """BIRD's log so far."""
        return Path(str(self._control).replace(".ctl", ".log")).read_text()

    def settle(self) -> None:
        """Wait until it has sent all that a session begins with: End-of-RIB is the last of it."""
        eventually(lambda: "Sending END-OF-RIB" in self.log())
        self.ask("show status")  # that line comes before the message, and the answer after both

    def routes(self) -> dict[str, str]:
        """Prefix to what BIRD says of it and its attributes."""
        found: dict[str, str] = {}
        prefix = ""
        for line in self.ask("show route all").splitlines()[2:]:
            if line and not line[0].isspace():
                prefix = line.split()[0]
                found[prefix] = ""
            if prefix:
                found[prefix] += line + "\n"
        return found

    def count(self) -> int:
        """How many routes it has."""
        return int(self.ask("show route count").splitlines()[1].split()[0])

    def when(self, count: int) -> subprocess.Popen[str]:
        """A process that prints the Unix time at which it has so many routes, give or take 50 ms, within two minutes.

        It is one of its own, so that what this process does meanwhile does not delay it.
        """
        look = f"birdc -s {self._control} show route count | grep -q '^{count} of.*master4'"
        script = f"until {look}; do sleep 0.05; done; date +%s.%N"
        words = ["ip", "netns", "exec", self._rig.name + "r", "timeout", "120", "sh", "-c", script]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        os.kill(int(self._pid_file.read_text()), number)


def vtysh_json(rig: Rig, folder: Path, command: str) -> dict[str, Any]:
    """The answer of FRR's vtysh to ``command`` as JSON."""
    answer: dict[str, Any] = json.loads(rig.in_router(f"vtysh --vty_socket {folder} -c '{command}'"))
    return answer


def states(outcomes: Sequence[Outcome]) -> set[str]:
    """The states among ``outcomes``."""
    return {outcome.state.value for outcome in outcomes}
