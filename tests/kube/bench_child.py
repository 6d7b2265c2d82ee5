"""The process that ``tests.kube.bench`` measures: follow, index, decide, and say when."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from announcer.decide import Decider
from announcer.inputs import absorb, config_from_event
from announcer.model.objects import EndpointSlice, ObjectKey
from announcer.snapshot import ConfigView, Snapshot
from announcer.sources.events import Changes
from announcer.sources.kube import ClusterAccess, KubeSource


def _megabytes() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


async def main() -> None:
    """Runs until it is killed."""
    before, began = _megabytes(), time.monotonic()
    source = KubeSource(
        ClusterAccess(kubeconfig=Path(sys.argv[1])), node_name="node-1", config=ObjectKey("kube-system", "bgp-config")
    )
    decider = Decider()
    view, snapshot = ConfigView(), Snapshot(revision=0, node_name="node-1")
    async for event in source.events():
        view = config_from_event(view, event)
        first = not snapshot.synced
        snapshot = absorb(snapshot, event, view, standalone=False)
        absorbed = time.monotonic()
        decided = decider.decide(snapshot)
        now = time.monotonic()
        if first:
            line: dict[str, object] = {
                "first sync": absorbed - began,
                "first decision": now - absorbed,
                "memory": _megabytes(),
                "memory of the process before": before,
                "services": len(decided.services),
            }
        else:
            changed = event.changed if isinstance(event, Changes) else ()
            slices = [item.key.name for item in changed if isinstance(item, EndpointSlice)]
            line = {"absorbed": absorbed, "decided": now, "slices": slices}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
