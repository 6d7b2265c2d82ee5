"""Fixtures of the tests of the figures."""

from tests.e2e.conftest import shared

__all__ = ["shared"]
