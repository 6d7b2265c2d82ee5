"""``python -m tests.figures``: the promise in figures, from real runs in the lab. Needs root."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.bench.report import publish
from tests.figures.drain import drain_rows
from tests.figures.healing import healing_rows
from tests.figures.latency import latency_rows
from tests.figures.loss import loss_rows
from tests.figures.model import model_rows
from tests.figures.table import write_table
from tests.figures.transitions import transition_rows

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Print, write ``figures.json`` and, with ``--docs``, the table in docs/. Ends with 1 if a target is missed."""
    began = os.getloadavg()[0]
    rows = [*latency_rows(), *transition_rows(), *loss_rows(), *healing_rows(), *drain_rows(), *model_rows()]
    publish(rows, _ROOT / "figures.json", "The promise in figures")
    if "--docs" in sys.argv[1:]:
        load = f"{began:.1f} when it began, {os.getloadavg()[0]:.1f} when it ended"
        write_table(rows, _ROOT / "docs" / "figures.md", load=load)
    return 1 if any(row.ok is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
