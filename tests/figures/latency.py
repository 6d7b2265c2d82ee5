"""How long a change takes: from the file to the kernel, from there to the router, and until a route is gone.

The agent's part is read from its own recording, the router's part from the kernel of the router. All run on one
machine, so their clocks are one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.bench.report import Row
from tests.e2e.cluster import VIP_ROUTE, Cluster, cluster
from tests.figures.rows import percentiles
from tests.lab import RouteChange, RouteJournal, until

WITHDRAWALS = 15
CHANGES = 40
_TARGET_MS = 150.0


def latency_rows() -> list[Row]:
    """All of them from one run."""
    with cluster() as made:
        agent = made.agents[0]
        record = agent.node.folder / "record"
        agent.arguments = (f"--record={record}",)
        started = time.monotonic()
        made.start()
        cold = time.monotonic() - started
        edits: list[float] = []
        gone: list[float] = []
        back: list[float] = []
        # With policy Local a node answers for itself alone: it serves what it has proven, or it does not.
        _set_policy(made, "Local")
        with RouteJournal(made.lab.router) as journal:
            for _ in range(WITHDRAWALS):
                gone.append(_edit(made, False))
                until(lambda: not made.next_hops, "no route", 20)
                made.await_serving(0)  # the drain is over: what comes next has to be programmed
                back.append(_edit(made, True))
                made.await_vip()
            _set_policy(made, "Cluster")
            for number in range(CHANGES):
                edits.append(_edit(made, True, all_but="10.244.2.11" if number % 2 == 0 else ""))
                made.await_serving(3 if number % 2 == 0 else 4)
            changes = journal.changes(VIP_ROUTE)
        agent.terminate()
        lines = [json.loads(line) for line in record.read_text().splitlines()]
    proofs, inputs = list(_proofs(lines)), [float(line["t"]) for line in lines if line["kind"] == "inputs"]
    programmed = [_first_after(edit, proofs) for edit in (*edits, *back)]
    heard = [_first_after(edit, inputs) for edit in (*edits, *back)]
    offset = time.time() - time.monotonic()
    withdrawn = [_first(changes, at + offset, lambda change: change.action == "deleted") - offset - at for at in gone]
    announced = [
        _first(changes, at + offset, lambda change: agent.node.address in change.next_hops) - offset - proof
        for at, proof in zip(back, programmed[len(edits) :], strict=True)
    ]
    file = [proof - at for proof, at in zip(programmed, (*edits, *back), strict=True)]
    event = [proof - at for proof, at in zip(programmed, heard, strict=True)]
    return [
        *percentiles("latency/file-to-kernel-read-back", file),
        *percentiles("latency/event-to-kernel-read-back", event, targets=(10.0, 50.0)),
        *percentiles("latency/kernel-to-route-at-router-bird", announced, targets=(3.0, 40.0)),
        *percentiles("latency/last-backend-lost-to-route-gone-bird", withdrawn, targets=(_TARGET_MS, _TARGET_MS)),
        *percentiles("cold-start/two-nodes-to-all-routes-1-vip", [cold], targets=(2000.0, 2000.0))[:1],
    ]


def _set_policy(made: Cluster, policy: str) -> None:
    made.edit("service-web.yaml", lambda manifest: manifest["spec"].update(externalTrafficPolicy=policy))
    made.await_serving(2 if policy == "Local" else 4)


def _edit(made: Cluster, ready: bool, all_but: str = "") -> float:
    """Write the change on every node; when the first node's file was in place, CLOCK_MONOTONIC."""
    made.set_ready(lambda address: ready and address != all_but)
    return (made.agents[0].source / "endpointslice-web.yaml").stat().st_mtime - (time.time() - time.monotonic())


def _proofs(lines: list[dict[str, Any]]) -> Iterator[float]:
    """When the VIP was proven right after it was programmed."""
    programmed = False
    for fields in lines:
        if fields["kind"] != "outcome" or fields["outcome"]["state"] != "done":
            continue
        step = fields["outcome"]["step"]["step"]
        if step == "program-frontend":
            programmed = True
        elif step == "verify" and programmed:
            programmed = False
            yield float(fields["at"])


def _first_after(moment: float, times: list[float]) -> float:
    return next(one for one in times if one > moment)


def _first(changes: list[RouteChange], moment: float, wanted: Callable[[RouteChange], bool]) -> float:
    """Unix time of the first change after ``moment`` that is wanted."""
    return next(change.time.timestamp() for change in changes if change.time.timestamp() > moment and wanted(change))
