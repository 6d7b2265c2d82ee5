"""The BGP hand: everything Lockstep says to routers.

::

    agent ── SpeakerClient ──(speaker.sock)── speaker ──(relay.sock)── relay ──(pipes)── ExaBGP ── TCP ── peers
                                                 │                                          │
                                                 └───────────── child, dies with it ────────┘

Two rules. The speaker outlives the agent: the agent coming, going or being killed sends nothing to a peer. And the
speaker alone holds the Adj-RIB-Out: ExaBGP is used as the session and the wire codec, remembers no route
(``adj-rib-out false``), and is given only what may be sent at once. So a route that was withdrawn cannot come back from
a memory of which we know nothing, and ExaBGP can be replaced at any time.

Known limit, and the price of that rule: route refresh (RFC 2918) is not offered, because ExaBGP 5.0 answers it only
from a memory of its own.

Imports of ours: ``announcer.model`` only.
"""
