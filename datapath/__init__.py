"""The forwarding hand: BPF programs, pinned maps, links and neighbours of this node.

::

    Datapath (hand) ── Loader ── shim ── libbpf            programs, pinned maps, lock
        │              Links ── tc                         which device carries the programs
        │              Tables ── readback, encode, maglev  frontends, rows, backends in the maps
        │              Neighbours, devices ── rtnl         what the kernel routes where
        └── proof, trace ── packet                         synthetic packets through the attached program

Two rules. What is in the kernel is the truth: an index of it is kept for speed and made anew whenever it differs. And
nothing serves before it is complete: backends, row, decapsulation, VIP, and the frontend's entry last.
"""
