"""``lockstep allocate``: the one process of a cluster that gives Services their addresses.

::

    API server ── Services, Nodes, ConfigMap ──> announcer.ipam.assign ── Assignments ──> status.loadBalancer,
         └──── Lease ──> Election: one of several candidates may write                    condition, Event

It is the only part of Lockstep that writes to Services. When it is away nothing changes: Services keep their addresses,
nodes go on announcing them, new Services wait.
"""
