"""Sockets in other network namespaces: a thread enters one, makes them, and ends; they stay there."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def inside(netns: str, make: Callable[[], T]) -> T:
    """What ``make()`` returns in the namespace of that name; raises what it raises."""

    def enter() -> T:
        descriptor = os.open(f"/run/netns/{netns}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
        return make()

    with ThreadPoolExecutor(1) as threads:
        return threads.submit(enter).result()
