"""Giving memory back."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Give memory that nothing is in back to the kernel (malloc_trim(3))."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; others have none
    if trim is not None:
        trim(0)
