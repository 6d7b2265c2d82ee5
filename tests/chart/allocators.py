"""``lockstep allocate`` beside a real API server, with the token that the chart gives it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from announcer.allocator.events import COMPONENT
from tests.chart.helm import NAMESPACE
from tests.kube.server import KubeServer
from tests.lab.poll import until

LOCKSTEP = Path(sys.executable).with_name("lockstep")


class AllocatorProcess:
    """One replica of the Deployment."""

    def __init__(self, kube: KubeServer, folder: Path, name: str = "a", *arguments: str) -> None:
        self.kube = kube
        self.name = name
        self.log = folder / f"allocator-{name}.log"
        self.socket = folder / f"{name}.sock"
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; returns at once."""
        token = self.kube.admin.token(NAMESPACE, "lockstep-allocator")
        argv: list[str | Path] = [
            LOCKSTEP,
            "allocate",
            f"--kubeconfig={self.kube.kubeconfig(token, f'allocator-{self.name}')}",
            f"--config-map={NAMESPACE}/bgp-config",
            f"--lease={NAMESPACE}/lockstep-allocator",
            f"--identity={self.name}",
            f"--listen=unix:{self.socket}",
            *self._arguments,
        ]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def kill(self) -> None:
        """It has no chance to give the Lease up."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """As the kubelet does it."""
        return self._end(signal.SIGTERM)

    def stop(self) -> None:
        """End it if it runs."""
        if self._process is not None:
            self.kill()

    def freeze(self, frozen: bool) -> None:
        """Stop it in the middle of whatever it does, or let it go on."""
        assert self._process
        self._process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _end(self, number: signal.Signals) -> int:
        assert self._process
        self._process.send_signal(number)
        code = self._process.wait(timeout=20)
        self._process = None
        return code

    def fetch(self, path: str) -> tuple[int, str]:
        """Status and body of one of its answers; (0, "") while it does not answer."""
        argv = [
            "curl",
            "-s",
            "-m",
            "20",
            "-w",
            "\n%{http_code}",
            "--unix-socket",
            str(self.socket),
            f"http://localhost{path}",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        body, _, code = done.stdout.rpartition("\n")
        return int(code or 0), body

    def metric(self, name: str) -> float | None:
        """The value of one series, None if there is none."""
        for line in self.fetch("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            if series == name:
                return float(value)
        return None

    def await_leading(self, seconds: float = 30) -> None:
        """Wait until it leads."""
        until(lambda: self.metric("lockstep_allocator_leader") == 1.0, f"{self.name} leads", seconds)


def addresses(kube: KubeServer) -> dict[str, list[str]]:
    """What every Service of type LoadBalancer holds, by name."""
    return {
        item["metadata"]["name"]: held(item)
        for item in kube.admin.items("Service")
        if item["spec"]["type"] == "LoadBalancer"
    }


def held(service: dict[str, Any]) -> list[str]:
    """The addresses (or host names) in a Service's status."""
    entries = service["status"].get("loadBalancer", {}).get("ingress", [])
    return [entry.get("ip") or entry.get("hostname") for entry in entries]


def condition(kube: KubeServer, name: str) -> dict[str, Any]:
    """Our condition of a Service, empty if it has none."""
    conditions = kube.admin.get("Service", "default", name)["status"].get("conditions", [])
    return next((item for item in conditions if item["type"] == "lockstep/AddressAllocated"), {})


def events(kube: KubeServer, name: str) -> list[tuple[str, str, str]]:
    """Type, reason and message of what the allocator said of a Service.

    A young API server has words of its own about cluster addresses that it repairs.
    """
    selector = f"involvedObject.name={name},source={COMPONENT}"
    found = kube.admin.items("Event", "default", fieldSelector=selector)
    return [(item["type"], item["reason"], item["message"]) for item in found]


def await_that(check: Callable[[], bool], text: str) -> None:
    """``until`` with the patience that a busy machine needs."""
    until(check, text, 40)
