"""Whether a child has ended, asked before its status is taken."""

from __future__ import annotations

import subprocess

from bgpd.engine import has_ended
from tests.bgpd.rig import eventually


def test_a_child_has_ended_before_its_status_is_taken_and_after() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        assert not has_ended(child.pid)
        child.kill()
        eventually(lambda: has_ended(child.pid))
        assert child.wait() == -9, "its status is still there"
        assert has_ended(child.pid)
