"""Lockstep on the nodes of the lab: starting, stopping and asking it, as an operator would."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from announcer.cli.client import UnreachableError, fetch, fetch_text
from tests.lab.host import Process
from tests.lab.lab import Node
from tests.lab.poll import until

#: The command under test: the one of the environment that runs us.
LOCKSTEP = Path(sys.executable).with_name("lockstep")

STANDALONE = Path(__file__).resolve().parents[2] / "configs" / "standalone"


class NodeAgent:
    """``lockstep run`` on one node, with its own copy of a folder of manifests."""

    def __init__(self, node: Node, manifests: Path = STANDALONE, *, arguments: tuple[str, ...] = ()) -> None:
        """The copy is made now; ``source`` is the folder that the agent follows.

        ``arguments`` are added to its own at every start, and ``environment`` to that of this process. ``release`` is
        the tree that it is started from (see ``tests.lab.release``); None: this one.
        """
        self.node = node
        self.source = node.folder / "manifests"
        self.state_dir = node.state_dir
        self.arguments = arguments
        self.environment: dict[str, str] = {}
        self.release: Path | None = None
        self._process: Process | None = None
        if not self.source.exists():
            shutil.copytree(manifests, self.source)

    @property
    def log(self) -> Path:
        """What the agent wrote to standard error, over all its lives."""
        return self.node.folder / "agent.log"

    @property
    def pid(self) -> int:
        """The running agent's process id."""
        assert self._process
        return self._process.pid

    def start(self) -> None:
        """Start the agent; returns at once."""
        argv: list[str | Path] = [
            LOCKSTEP,
            "run",
            f"--source={self.source}",
            f"--node-name={self.node.name}",
            f"--state-dir={self.state_dir}",
            f"--bpffs={self.node.bpffs}",
            *self.arguments,
        ]
        environment = os.environ | self.environment
        if self.release is not None:
            environment["PYTHONPATH"] = str(self.release)
        with self.log.open("ab") as log:
            self._process = self.node.popen(argv, stderr=log, env=environment)

    def kill(self) -> None:
        """SIGKILL: the agent has no chance to do anything any more."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM, as a restart or an upgrade does it. Returns the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self._process
        self._process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for the agent to end by itself, and return its exit code."""
        assert self._process
        code = self._process.wait(timeout=15)
        self._process = None
        return code

    def status(self) -> dict[str, Any]:
        """``/v1/status``; an empty dict while the agent does not answer."""
        return self._fetch("/v1/status")

    def routes(self) -> dict[str, Any]:
        """``/v1/routes``; an empty dict while the agent does not answer."""
        return self._fetch("/v1/routes")

    def explain(self, target: str) -> dict[str, Any]:
        """``/v1/explain`` of a VIP or Service; an empty dict while the agent does not answer."""
        return self._fetch("/v1/explain", {"target": target})

    def trace(self, source: str, target: str, protocol: str = "tcp") -> dict[str, Any]:
        """``/v1/trace``: what the program of this node would do; both are ADDR:PORT."""
        return self._fetch("/v1/trace", {"from": source, "to": target, "proto": protocol})

    def vip(self, vip: str) -> dict[str, Any]:
        """The entry of one VIP in the status; an empty dict if it has none."""
        return next((entry for entry in self.status().get("vips", ()) if entry["vip"] == vip), {})

    def metrics(self) -> dict[str, float]:
        """``/metrics``, by name with labels; an empty dict while the agent does not answer."""
        try:
            text = fetch_text(self.state_dir, "/metrics")
        except UnreachableError:
            return {}
        lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a ``lockstep`` command on the node, for this agent."""
        return self.node.run([LOCKSTEP, *arguments, f"--state-dir={self.state_dir}"], check=False)

    def await_announced(self, vip: str, seconds: float = 20.0) -> None:
        """Wait until the agent says that some peer holds the VIP."""
        until(lambda: self.vip(vip).get("state") == "Announced", f"{self.node.name} announces {vip}", seconds)

    def await_proven(self, vip: str) -> None:
        """Wait until the agent has proven the VIP anew: by a proof that it made after this call."""
        began = time.monotonic()

        def proven() -> bool:
            passed = time.monotonic() - began
            proof = self.vip(vip).get("proof") or {"ok": False}
            return bool(proof["ok"]) and proof["age_seconds"] < passed

        until(proven, f"{self.node.name} proves {vip}")

    def _fetch(self, path: str, query: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            return fetch(self.state_dir, path, query)
        except UnreachableError:
            return {}
