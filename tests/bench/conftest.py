"""The node of the datapath's tests is where packets are timed too."""

from __future__ import annotations

from tests.datapath.conftest import _swept, built, names, node

__all__ = ["_swept", "built", "names", "node"]
