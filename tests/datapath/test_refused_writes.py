"""Fault 11: the kernel refuses any one write of a change. What was served is served still, and others go on."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from announcer.model.errors import TargetError
from announcer.model.observed import OutcomeState
from datapath import shim
from tests.datapath.node import LOCAL, REMOTE, Node, done, failed, frontend, observe, program, proven, remove

pytestmark = pytest.mark.root

R = TypeVar("R")
OLD, NEW, OTHER = frontend(LOCAL), frontend(LOCAL, REMOTE), frontend(REMOTE, vip=LOCAL.address)
#: More than any change here has; a loop that ends before has tried every place.
_MANY = 20


@contextmanager
def _refusing(at: int, error: int, what: str = "update") -> Iterator[list[int]]:
    """The write number ``at`` (from 0) into a hash map fails, and every one after it. Yields the writes so far.

    ``what``: ``delete`` for those that take something out.
    """
    writes: list[int] = []

    def refusing(real: Callable[..., R]) -> Callable[..., R]:
        def call(*arguments: object) -> R:
            writes.append(1)
            if len(writes) > at:
                raise TargetError("bpf_map_update_elem", errno=error)
            return real(*arguments)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shim, what, refusing(getattr(shim, what)))
        yield writes


@pytest.mark.parametrize("error", [errno.ENOMEM, errno.EPERM, errno.E2BIG], ids=["ENOMEM", "EPERM", "E2BIG"])
def test_whichever_write_is_refused_the_old_state_serves(node: Node, error: int) -> None:
    datapath = node.attached()
    done(program(datapath, OTHER))
    for at in range(_MANY):
        done(program(datapath, OLD))
        with _refusing(at, error) as writes:
            outcome = program(datapath, NEW)
        if len(writes) <= at:
            done(outcome)
            break
        assert os.strerror(error) in failed(outcome)
        seen = observe(datapath)
        assert not seen.damaged
        assert seen.frontends[OLD.key] in (OLD, NEW), "the old, or the new if only what comes after it was refused"
        proven(datapath, seen.frontends[OLD.key])
        proven(datapath, OTHER)
    assert at > 0, "no write was refused"
    assert at < _MANY - 1
    for wanted in (NEW, OTHER):
        proven(datapath, wanted)
        done(remove(datapath, wanted.key))
    assert {usage.used for usage in observe(datapath).maps.values()} == {0}


def test_a_refusal_costs_no_other_frontend(node: Node) -> None:
    datapath = node.attached()
    with _refusing(0, errno.ENOMEM):
        assert program(datapath, NEW).state is OutcomeState.FAILED
    done(program(datapath, OTHER))
    proven(datapath, OTHER)
    assert NEW.key not in observe(datapath).frontends


def test_what_is_there_is_seen_though_the_old_could_not_be_taken_out(node: Node) -> None:
    datapath = node.attached()
    done(program(datapath, OLD))
    observe(datapath)
    with _refusing(0, errno.ENOMEM, "delete"):
        assert program(datapath, frontend(REMOTE)).state is OutcomeState.FAILED
    seen = observe(datapath)
    assert seen.frontends[OLD.key].backends == (REMOTE,), "its entry was written before"
    proven(datapath, seen.frontends[OLD.key])
    done(program(datapath, NEW))
    proven(datapath, NEW)
    assert observe(datapath).frontends == {NEW.key: NEW}
