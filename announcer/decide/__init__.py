"""``decide``: what should be announced and served on this node, and for everything that should not: why.

The first of the three pure functions. It knows nothing of what is so at present; a decision depends on its inputs
alone, so every node can tell what every other one decides, and a recording can be decided again.

::

    Services, EndpointSlices ──> frontends ──┐
    bgp-config pools ────────> eligibility ──┼──> VIPs ──> routes ──> one Adj-RIB-Out per neighbor
    this Node, bgp-config peers ─> neighbors ┴──> Pod CIDRs ──^

``Decider`` gives the same for one snapshot after the other, at the cost of what changed between them.
"""

from announcer.decide.decider import Decider, decide

__all__ = ["Decider", "decide"]
