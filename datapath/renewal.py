"""Proofs that were good are made anew: the same packets have to end as they did, to the last byte.

To aim packets at the backends and to judge what became of them takes several times as long as to send them through the
program. Nothing of it has to be done again while the entry, its block, the backends and the devices are what they were.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from announcer.model.lb import Frontend, FrontendKey, Mode
from datapath import packet
from datapath.abi import Verdict
from datapath.packet import Flow, Template
from datapath.probe import Answer
from datapath.readback import Held
from datapath.rtnl import Link


class Arrival(NamedTuple):
    """How packets come in: by a device, with these VLAN ids (outer one first) in front of them."""

    device: Link
    tags: tuple[int, ...] = ()

    def __str__(self) -> str:
        """``eth0``, ``eth0 with tag 100``."""
        return self.device.name + (f" with tag {'.'.join(map(str, self.tags))}" if self.tags else "")


class Sent(NamedTuple):
    """A packet of a proof, and what became of it."""

    flow: Flow
    arrival: Arrival
    answer: Answer


class _Good(NamedTuple):
    """A proof that was good. The same packets came in by each of ``arrivals``: its frame in ``frames``, from each of
    ``ports``. ``answers``: a digest of what became of them; ``leave_by``: the devices that they were redirected to.
    """

    frontend: Frontend
    held: Held
    arrivals: Sequence[Arrival]
    frames: tuple[Template, ...]
    ports: array[int]
    answers: int
    leave_by: frozenset[int]


class Renewals:
    """The good proofs of this process, by frontend."""

    def __init__(self) -> None:
        self._good: dict[FrontendKey, _Good] = {}
        self._arrivals: Sequence[Arrival] = ()

    def keep(self, frontend: Frontend, held: Held, arrivals: Sequence[Arrival], sent: Sequence[Sent]) -> None:
        """This one was good. Of some nothing is kept: packets from several clients, answers that depend on more than
        the packet."""
        self._good.pop(frontend.key, None)
        if not sent or held.mode is Mode.SNAT or held.entry.previous_bits:
            return
        flows = [[each.flow for each in sent if each.arrival is arrival] for arrival in arrivals]
        first = sent[0].flow
        if not packet.can_vary(first) or not packet.same_client(flows[0]) or any(each != flows[0] for each in flows):
            return
        if arrivals != self._arrivals:
            self._arrivals = arrivals
        redirected = (each.answer for each in sent if each.answer.verdict is Verdict.REDIRECT)
        self._good[frontend.key] = _Good(
            frontend,
            held,
            self._arrivals,  # one object for all
            tuple(packet.template(first, each.device.address, each.tags) for each in arrivals),
            array("H", [flow.source_port for flow in flows[0]]),
            hash(b"".join(each.answer.raw for each in sent)),
            frozenset(answer.ifindex for answer in redirected),
        )

    def knows(self, frontend: Frontend) -> bool:
        """Was this very one good? If not, :meth:`again` need not be asked."""
        good = self._good.get(frontend.key)
        return good is not None and good.frontend is frontend

    def again(
        self,
        frontend: Frontend,
        held: Held | None,
        arrivals: Sequence[Arrival],
        run: Callable[[int, Template, array[int]], bytes],
        takes_redirects: Callable[[int], bool],
    ) -> bool:
        """False: it was not good before, or for something else, or does not end the same: it has to be made from new.

        ``run``: frames from these ports through the program as if they came in by this device, and what became of
        them.
        """
        good = self._good.get(frontend.key)
        if good is None or good.frontend is not frontend or good.held is not held or good.arrivals != arrivals:
            return False
        if any(each.device.native for each in arrivals) and not all(map(takes_redirects, good.leave_by)):
            return False
        sent = zip(arrivals, good.frames, strict=True)
        return hash(b"".join([run(each.device.ifindex, frame, good.ports) for each, frame in sent])) == good.answers

    def forget(self, key: FrontendKey) -> None:
        """It is served no more."""
        self._good.pop(key, None)
