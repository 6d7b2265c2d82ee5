"""A lab leaves nothing behind, whatever ends its owner, and does not meet another lab."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab import Lab, LabError, send, until
from tests.lab.registry import NETNS_FOLDER, Registry

pytestmark = [pytest.mark.root, pytest.mark.lab]

CHECKOUT = Path(__file__).parents[2]

# The daemon has left its parent and its session, and is in no record of ours: only its namespace gives it away.
# Who started the tests in the background may have had them ignore SIGINT, which is inherited.
OWNER = """
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.lab import Lab
lab = Lab("{router}")
print(lab.id, flush=True)
with lab:
    daemon = "setsid --fork sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1'"
    pid = lab.nodes[0].run(["sh", "-c", daemon]).stdout.strip()
    (lab.nodes[0].bpffs / "folder").mkdir()
    print("up", pid, flush=True)
    {body}
"""


def start_owner(body: str, router: str = "bird") -> tuple[subprocess.Popen[str], Registry]:
    """Start a process that owns a lab and then does ``body``; its next line of output is ``up PID`` with the daemon."""
    code = OWNER.format(body=body, router=router)
    owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=CHECKOUT)
    assert owner.stdout
    return owner, Registry(owner.stdout.readline().strip())


def await_up(owner: subprocess.Popen[str]) -> Path:
    """Return the network namespace of the daemon in /proc; it goes with the process, even if nobody reaps that."""
    assert owner.stdout
    up, pid = owner.stdout.readline().split()
    assert up == "up"
    return Path("/proc", pid, "ns", "net")


def gone(registry: Registry) -> Callable[[], bool]:
    """Everything is removed, and the reaper, content with that, has ended."""
    reaper = f"reaper.py\0{registry.lab_id}\0".encode()

    def check() -> bool:
        return not registry.leftovers() and not any(reaper in line for line in command_lines())

    return check


def command_lines() -> Iterator[bytes]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("router", ["bird", "frr"])
def test_nothing_is_left_of_a_killed_owner(router: str, end: signal.Signals) -> None:
    owner, registry = start_owner("time.sleep(1000)", router)
    daemon = await_up(owner)
    assert daemon.exists()
    kinds = {item.split()[0] for item in registry.leftovers()}
    assert kinds == {"process", "mount", "netns", str(registry.folder)}
    owner.send_signal(end)
    owner.communicate()
    until(gone(registry), "nothing left of the lab")
    assert not daemon.exists()


@pytest.mark.parametrize("stage", ["folder", "netns", "router"])
def test_nothing_is_left_when_killed_while_building(stage: str) -> None:
    owner, registry = start_owner("time.sleep(1000)")
    reached = {
        "folder": lambda: registry.folder.exists(),
        "netns": lambda: (NETNS_FOLDER / registry.netns("client")).exists(),
        "router": lambda: (registry.folder / "router" / "bird.conf").exists(),
    }[stage]
    until(reached, f"the lab's {stage}")
    owner.kill()
    owner.communicate()
    until(gone(registry), "nothing left of the lab")


def test_nothing_is_left_of_a_lab_that_failed_to_build(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(nodes=1)
    monkeypatch.setattr("tests.lab.network.EDGE_MTU", 10)  # the kernel refuses: below the least of IPv4 (RFC 791)
    with pytest.raises(LabError, match="ip: RTNETLINK answers: Invalid argument"), lab:
        pytest.fail("was built")
    assert Registry(lab.id).leftovers() == []


def test_kept_lab_outlives_its_owner_until_it_is_removed() -> None:
    owner, registry = start_owner("print(lab.keep())")
    await_up(owner)
    assert owner.stdout
    with owner:
        # Not by communicate(), which with a timeout looks past what was read together with the line before.
        command = owner.stdout.read().split()
    try:
        assert owner.returncode == 0
        connect = "import socket; socket.create_connection(('10.244.1.11', 8080), 5)"
        subprocess.run(
            ["nsenter", f"--net={NETNS_FOLDER / registry.netns('n1')}", sys.executable, "-c", connect], check=True
        )
        subprocess.run(command, check=True, cwd=CHECKOUT)
        assert registry.leftovers() == []
        assert subprocess.run(command, check=False, cwd=CHECKOUT, capture_output=True).returncode == 1
    finally:
        registry.remove()


def test_two_labs_side_by_side() -> None:
    with Lab("frr") as first, Lab("bird") as second:
        for lab in (first, second):
            for node in lab.nodes:
                lab.router.run(["ip", "route", "add", node.pod_cidr, "via", node.address])
        first.stop_pod(first.pods[0])
        target = f"{first.pods[0].address}:8080"
        assert send(first.client, target, count=5).errors == {"Connection refused": 5}
        assert send(second.client, target, count=5).ok == 5
        first.remove()
        assert Registry(first.id).leftovers() == []
        assert send(second.client, target, count=5).ok == 5
    assert Registry(second.id).leftovers() == []
