"""Frozen values that every part of Lockstep shares. Imports nothing of ours.

Values here are compared, hashed, printed, recorded and sent over a socket; none of them does I/O.

::

    objects ──> (decide) ──> desired ──> (plan) ──> steps ──> a hand ──> outcome/event ──> (fold) ──> observed
"""
