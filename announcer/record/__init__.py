"""Recording what an agent saw and decided, and deciding it again from the recording.

The core is three pure functions, time included, so a record of their arguments is a record of the agent. One JSON
object per line::

    {"kind": "start", …}        the schema, and everything that was known when this file began
    {"kind": "inputs", …}       what changed of the snapshot; "decided": the digest of what ``decide`` made of it
    {"kind": "datapath"|"bgp"}  what changed of what was read back; nothing if nothing did
    {"kind": "outcome", …}      what came of a step
    {"kind": "plan", …}         the steps in words, and the digest of what ``plan`` returned

Every line has the time (``t``, CLOCK_MONOTONIC) and a checksum over itself and the line before it. Secrets are masked
(:mod:`announcer.record.plain`).
"""
