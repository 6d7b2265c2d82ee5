"""Slots in transition become steady again: now and then the flow tables are walked for flows that still need them.

It never has to hurry. A slot that is in transition for longer than it has to only costs its packets a look-up more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from announcer.model.lb import FrontendKey
from datapath import abi, blocks, encode, rows
from datapath.maps import HashMap, Maps
from datapath.readback import Held
from datapath.tables import Tables, coarse

#: Seconds between two walks.
INTERVAL = 5.0
#: A flow that was silent for so many seconds through a change of its backends counts as ended.
WINDOW = 600.0


class Transitions:
    """Looks after the frontends of which slots are in transition."""

    def __init__(self, maps: Maps, tables: Tables) -> None:
        self._maps = maps
        self._tables = tables
        self._changed = tables.follow()
        self._waiting: set[FrontendKey] = set()
        self._next = 0.0

    def tend(self, now: float) -> None:
        """Walk the flow tables if it is time and there is a reason. ``now``: CLOCK_MONOTONIC seconds.

        Raises ``TargetError``.
        """
        self._follow()
        if not self._waiting or now < self._next:
            return
        waiting = {key: self._tables.frontends[key] for key in self._waiting}
        self._next = now + INTERVAL
        flows = self._flows(waiting, now)
        for key, held in waiting.items():
            self._settle(key, held, flows.get(encode.frontend_key(key), []), now)

    def _follow(self) -> None:
        for key in self._changed:
            held = self._tables.frontends.get(key)
            in_transition = held is not None and held.entry.previous_bits and not held.problem
            (self._waiting.add if in_transition else self._waiting.discard)(key)
        self._changed.clear()

    def _flows(self, waiting: dict[FrontendKey, Held], now: float) -> dict[bytes, list[tuple[int, int]]]:
        """Hash and position of the backend of every live flow entry, by frontend."""
        positions = {
            encode.frontend_key(key): {number: position for position, number in enumerate(held.numbers)}
            for key, held in waiting.items()
        }
        found: dict[bytes, list[tuple[int, int]]] = defaultdict(list)
        oldest = coarse(now - WINDOW)
        for table in (self._maps.flows, self._maps.flows_new):
            for frontend, number, generation, value, seen in _entries(table):
                position = positions.get(frontend, {}).get(number)
                if position is not None and seen >= oldest and generation == self._tables.generation(number):
                    found[frontend].append((value, position))
        return found

    def _settle(self, key: FrontendKey, held: Held, flows: list[tuple[int, int]], now: float) -> None:
        row = blocks.read_row(self._maps, held.entry)
        over = held.entry.since < coarse(now - WINDOW)
        settled = rows.settle(row, flows, unseen_are_dead=over)
        if settled != row:
            self._tables.replace_row(key, settled, now)


def _entries(table: HashMap) -> Iterator[tuple[bytes, int, int, int, int]]:
    for raw, value in table.dump().items():
        _, vip, _, port, protocol = abi.FLOW_KEY.unpack(raw)
        number, generation, hashed, seen = abi.FLOW.unpack(value)
        yield abi.FRONTEND_KEY.pack(vip, port, protocol), number, generation, hashed, seen
