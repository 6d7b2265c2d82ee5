"""``python -m tests.bench``: everything, as a table and in ``bench.json``."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench import agent, forwarding, packets, routes, tables
from tests.bench.report import publish


def main() -> int:
    """Run all benchmarks; the exit code says only whether they ran."""
    argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__).parse_args()  # takes none, and says so
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder:
        parts = (routes.bench, packets.bench, forwarding.bench, agent.bench)
        rows = [row for part in parts for row in part(Path(folder))]
        rows += tables.bench()
    publish(rows, Path("bench.json"), "R: the reference forwarder in the same round")
    return 0


if __name__ == "__main__":
    sys.exit(main())
