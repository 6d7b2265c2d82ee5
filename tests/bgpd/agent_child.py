"""An agent to be killed: connects, has the routes of its arguments announced to r1, says so, and waits.

Usage: ``python -m tests.bgpd.agent_child SOCKET PREFIX…``
"""

from __future__ import annotations

import asyncio
import sys
from ipaddress import IPv4Network
from pathlib import Path

from announcer.model.bgp import Route
from announcer.model.observed import OutcomeState
from announcer.model.steps import Announce
from bgpd.client import SpeakerClient


async def main() -> None:
    """Until killed."""
    client = SpeakerClient(Path(sys.argv[1]))
    routes = [Route(nlri=IPv4Network(prefix)) for prefix in sys.argv[2:]]
    outcomes = await client.apply([Announce(lane="x", peer="r1", route=route) for route in routes])
    assert all(outcome.state is OutcomeState.DONE for outcome in outcomes), outcomes
    print("announced", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
