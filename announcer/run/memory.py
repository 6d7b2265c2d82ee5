"""The memory of an agent that has started: what it took only for that is given back, what stays is left alone."""

from __future__ import annotations

import gc

from bgpd.memory import give_back

#: New objects before the youngest are looked over. A decision about 10,000 Services makes a million that all stay; the
#: default of 700 has them looked over again and again.
_YOUNG = 50_000


def expect_many_objects() -> None:
    """Before anything is read. What the modules hold stays for good, so nobody needs to look it over any more."""
    gc.set_threshold(_YOUNG, 10, 10)
    gc.collect()
    gc.freeze()


def settle() -> None:
    """After the start: leave alone what is there now, and give free memory back to the kernel.

    A full pass of the garbage collector over a hundred thousand endpoints would keep the loop for a tenth of a second.
    What goes of them later goes all the same, by its reference counts: values are in no cycle.
    """
    gc.freeze()
    give_back()
