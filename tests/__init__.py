"""The tests. They mirror the packages; ``tests.lab`` is the network laboratory that the demo shares with them."""
