"""Runs programs of the image as the chart has a container runtime do it: read-only, with few capabilities or none."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.image.containerfile import Image
from tests.lab.agents import NodeAgent
from tests.lab.host import Process
from tests.lab.lab import Node
from tests.lab.registry import RUN_FOLDER


def confined(
    image: Image,
    capabilities: Sequence[str],
    arguments: Sequence[str | Path],
    *,
    user: str = "0:0",
    binds: Mapping[Path, str] | None = None,
) -> list[str]:
    """The command line for one program of the image. ``binds``: folders of the machine that it sees, and where
    (below /run or /mnt).

    /proc is new, /sys and /dev are those of the machine, everything else is read-only.
    """
    root = image.root
    steps = [f"mount --bind {root} {root}", f"mount -t proc proc {root}/proc"]
    steps += [f"mount --rbind /{name} {root}/{name}" for name in ("sys", "dev")]
    steps += [f"mount -t tmpfs tmpfs {root}/{name}" for name in ("tmp", "run", "mnt")]
    for folder, place in (binds or {}).items():
        # Only a tmpfs has room for new mount points.
        inside = shlex.quote(f"{root}{place}")
        steps += [f"mkdir -p {inside}", f"mount --rbind {shlex.quote(str(folder))} {inside}"]
    steps.append(f"mount -o remount,bind,ro {root}")
    allowed = "-all" + "".join(f",+{name.lower()}" for name in capabilities)
    uid, _, gid = user.partition(":")
    setpriv = ["setpriv", "--no-new-privs", f"--bounding-set={allowed}", f"--inh-caps={allowed}"]
    setpriv += [f"--reuid={uid}", f"--regid={gid}", "--clear-groups"]
    variables = [f"{name}={value}" for name, value in image.environment.items()]
    run = ["chroot", str(root), *setpriv, "env", "-i", *variables, *image.entrypoint, *map(str, arguments)]
    steps.append(f"exec {shlex.join(run)}")
    return ["unshare", "--mount", "--", "sh", "-ec", "; ".join(steps)]


class ImageAgent(NodeAgent):
    """``lockstep run`` on a node of the lab, from the image."""

    def __init__(self, node: Node, image: Image, capabilities: Sequence[str]) -> None:
        super().__init__(node)
        self._image = image
        self._capabilities = capabilities
        self.speaker: Process | None = None

    def _argv(self) -> list[str]:
        arguments = [
            "run",
            f"--source={self.source}",
            f"--node-name={self.node.name}",
            f"--state-dir={self.state_dir}",
            f"--bpffs={self.node.bpffs}",
            "--no-spawn-speaker",
        ]
        return confined(self._image, self._capabilities, arguments, binds={RUN_FOLDER: str(RUN_FOLDER)})

    def start(self) -> None:
        """Start the agent; returns at once."""
        with self.log.open("ab") as log:
            self._process = self.node.popen(self._argv(), stderr=log)

    def try_to_start(self) -> subprocess.CompletedProcess[str]:
        """Start an agent that is expected to end by itself."""
        return self.node.run(self._argv(), check=False, timeout=60)

    def start_speaker(self) -> None:
        """Start the speaker in a container of its own, without any capability."""
        arguments = ["speaker", f"--state-dir={self.state_dir}"]
        argv = confined(self._image, [], arguments, binds={RUN_FOLDER: str(RUN_FOLDER)})
        with (self.node.folder / "speaker.log").open("ab") as log:
            self.speaker = self.node.popen(argv, stderr=log)
