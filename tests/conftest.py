"""What all tests share."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.kube.fixtures import controllers, kube, kube_server

__all__ = ["controllers", "kube", "kube_server"]

# A property that fails must fail again for the next person who runs it; a slow machine is no reason to fail.
settings.register_profile(
    "lockstep", derandomize=True, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("lockstep")
