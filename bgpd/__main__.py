"""``python -m bgpd --state-dir DIR``: the speaker as ``bgpd.spawn`` starts it, with a log file in the state folder."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from bgpd.settings import SpeakerSettings
from bgpd.speaker import run_speaker


def main() -> int:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m bgpd", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    state_dir = parser.parse_args().state_dir.absolute()
    return asyncio.run(run_speaker(SpeakerSettings(state_dir=state_dir, log_file=state_dir / "speaker.log")))


if __name__ == "__main__":
    sys.exit(main())
