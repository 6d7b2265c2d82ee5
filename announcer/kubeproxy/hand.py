"""The steps of the forwarding hand, where another program forwards.

``ProgramFrontend`` writes down what was decided, so that the order of a plan stays what it is everywhere: serve, prove,
announce. It is bookkeeping and no read-back; an agent that starts has an empty book and proves everything anew, while
the routes that stand stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from announcer.kubeproxy.health import Health
from announcer.model.errors import BugError
from announcer.model.lb import Frontend, FrontendKey, Proof
from announcer.model.net import IPAddress
from announcer.model.observed import DatapathObserved, ForwarderObserved, Outcome, OutcomeState
from announcer.model.steps import (
    AnyStep,
    AttachDevices,
    GuardAggregate,
    ProgramFrontend,
    RemoveFrontend,
    UnguardAggregate,
    Verify,
)

#: How long kube-proxy is given to write its rules after a Service got its first endpoints: what it waits at the longest
#: between two changes (``minSyncPeriod``, 1 s by default), and half of that again. Its answers cannot tell.
SETTLE_SECONDS = 1.5


class KubeProxyHand:
    """The forwarding hand of a node where kube-proxy forwards (``announcer.model.hands.DatapathHand``)."""

    def __init__(
        self, health: Health, clock: Callable[[], float] = time.monotonic, settle: float = SETTLE_SECONDS
    ) -> None:
        """``health``: kube-proxy's latest answers. ``clock`` gives CLOCK_MONOTONIC seconds."""
        self._health = health
        self._clock = clock
        self._settle = settle
        self._book: dict[FrontendKey, Frontend] = {}
        self._served_since: dict[FrontendKey, float] = {}

    def observe(self, toward: Sequence[IPAddress]) -> DatapathObserved:
        """The book, and how kube-proxy is. ``toward`` matters to no one here: nothing is attached."""
        probe = self._health.proxy
        return DatapathObserved(
            frontends=dict(self._book),
            forwarder=ForwarderObserved(
                name="kube-proxy",
                url=self._health.url,
                healthy=probe is not None and probe.ok,
                problem="not asked yet" if probe is None else probe.problem,
                asked=0.0 if probe is None else probe.at,
            ),
        )

    def apply(self, step: AnyStep) -> Outcome:
        """Carry out one step. Raises ``BugError`` for a step of the other hand."""
        match step:
            case ProgramFrontend(frontend=frontend):
                self._write(frontend)
            case RemoveFrontend(key=key):
                self._book.pop(key, None)
                self._served_since.pop(key, None)
            case Verify():
                return self._verify(step)
            case GuardAggregate(prefix=prefix):
                problem = f"kube-proxy does not drop packets to addresses of {prefix} that are no VIP"
                return Outcome(step=step, state=OutcomeState.FAILED, problem=problem, retry=False)
            case AttachDevices() | UnguardAggregate():
                pass
            case _:
                raise BugError(f"no step of the forwarding hand: {step}")
        return Outcome(step=step, state=OutcomeState.DONE)

    def _write(self, frontend: Frontend) -> None:
        before = self._book.get(frontend.key)
        self._book[frontend.key] = frontend
        if not frontend.backends:
            self._served_since.pop(frontend.key, None)
        elif before is None or not before.backends:
            self._served_since[frontend.key] = self._clock()

    def _verify(self, step: Verify) -> Outcome:
        probe = self._health.proxy
        if probe is None:
            return Outcome(step=step, state=OutcomeState.WAITING, problem="kube-proxy was not asked yet")
        problem = self._problem(step)
        began = [self._served_since[one.key] for one in step.frontends if one.key in self._served_since]
        ready = max(began, default=0.0) + self._settle
        if not problem and probe.at < ready:
            # No proof rather than a failed one: routes that an earlier agent has announced stay.
            return Outcome(step=step, state=OutcomeState.WAITING, problem="kube-proxy is given time for its rules")
        proof = Proof(ok=not problem, at=probe.at, problem=problem)
        state = OutcomeState.FAILED if problem else OutcomeState.DONE
        return Outcome(step=step, state=state, problem=problem, proof=proof)

    def _problem(self, step: Verify) -> str:
        probe = self._health.proxy
        if probe is not None and probe.problem:
            return f"kube-proxy is not healthy: {probe.problem}"
        missing = [frontend.key for frontend in step.frontends if self._book.get(frontend.key) != frontend]
        if missing:
            return f"{missing[0]} is not in the book"
        return self._health.vips.get(step.vip, "")
