"""Frozen values that every part of Lockstep shares. Imports nothing of ours.

Values here are compared, hashed, printed, recorded and sent over a socket; none of them does I/O. Those of which there
may be thousands are none of the garbage collector's business (``gc=False``): a frozen value of values is in no cycle.

::

    objects ──> (decide) ──> desired ──> (plan) ──> steps ──> a hand ──> outcome/event ──> (fold) ──> observed
"""
