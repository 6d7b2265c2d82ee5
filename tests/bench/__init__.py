"""Benchmarks: what a packet costs, as a ratio to the least that any honest forwarder does, measured in the same run.

``make bench`` prints a table and writes ``bench.json`` (schema ``lockstep.figures/v1``). Nothing here passes or fails:
machines are noisy, and only ratios within one run mean something.
"""
