"""How long what somebody takes away stays unnoticed: from the damage to the repair being counted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.bench.report import Row
from tests.e2e.cluster import VIP, Cluster, cluster, exabgp_pid
from tests.e2e.damage import OF_THE_DATAPATH, OF_THE_REST, Damage
from tests.figures.rows import percentiles
from tests.lab import until

_ROUNDS = 10
_TARGET_MS = 1000.0
#: It is counted when another answers, which takes longer than to notice; what it costs stands in the rows of losses.
_NOT_HERE = frozenset({"speaker-killed"})

_STOP_EXABGP = Damage(
    "exabgp-stopped",
    lambda made: os.kill(exabgp_pid(made.agents[0]), signal.SIGSTOP),
    "lockstep_bgp_engine_resumptions_total",
)
#: Nothing tells from outside that it hangs; it only has to be replaced before the session would end.
_HANG_EXABGP = Damage(
    "exabgp-hung",
    lambda made: os.kill(exabgp_pid(made.agents[0]), signal.SIGWINCH),
    'lockstep_bgp_engine_restarts_total{cause="stalled"}',
)
_HANGS = Path(__file__).resolve().parents[1] / "bgpd" / "hang"
_FEW_ROUNDS = 2
_HOLD_TIME_MS = 90_000.0


def healing_rows() -> list[Row]:
    """One pair of rows for each kind of damage."""
    damages = [damage for damage in (*OF_THE_DATAPATH, *OF_THE_REST, _STOP_EXABGP) if damage.name not in _NOT_HERE]
    rows: list[Row] = []
    with cluster() as made:
        made.agents[0].environment = {"PYTHONPATH": str(_HANGS)}
        made.start()
        for damage in damages:
            seconds = [_repaired_after(made, damage) for _ in range(_ROUNDS)]
            name = f"healing/{damage.name}/noticed-and-repaired"
            rows += percentiles(name, seconds, targets=(_TARGET_MS, _TARGET_MS))
        hung = [_repaired_after(made, _HANG_EXABGP) for _ in range(_FEW_ROUNDS)]
        rows += percentiles("healing/exabgp-hung/replaced", hung, targets=(_HOLD_TIME_MS, _HOLD_TIME_MS))
    return rows


def _repaired_after(made: Cluster, damage: Damage) -> float:
    agent = made.agents[0]
    before = agent.metrics().get(damage.counter, 0.0)
    damage.act(made)
    done = time.monotonic()
    until(lambda: agent.metrics().get(damage.counter, 0.0) > before, f"{damage.counter} has counted", 30)
    seconds = time.monotonic() - done
    made.await_vip()
    until(lambda: (agent.vip(VIP).get("proof") or {}).get("ok"), "the VIP is proven again")
    return seconds
