"""What an agent loads before it does anything: its start is mostly that, and it has to be short."""

from __future__ import annotations

import subprocess
import sys

#: Of the extra ``kube``: whoever follows a folder and has programs of its own need not even have them installed.
_OF_A_CLUSTER = ("aiohttp", "kubernetes", "announcer.sources.kube", "announcer.kubeproxy")


def test_an_agent_without_a_cluster_loads_no_client_of_one() -> None:
    code = "import sys, announcer.run.main; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "announcer.run.forwarding" in loaded
    assert set(loaded) & set(_OF_A_CLUSTER) == set()
