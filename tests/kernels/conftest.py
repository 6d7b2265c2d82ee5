"""The fixtures of the datapath's tests."""

from __future__ import annotations

from tests.datapath.conftest import _swept, built, names

__all__ = ["_swept", "built", "names"]
