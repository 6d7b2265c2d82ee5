"""Tests of the BGP hand: pure parts with hypothesis, the whole speaker against real routers."""
