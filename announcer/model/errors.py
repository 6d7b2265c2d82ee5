"""The three families of errors, decided where they are raised.

- :class:`ConfigProblem` is the operator's to mend. It is collected, never raised one by one: all problems of a file are
  reported at once and the last good configuration stays.
- :class:`TargetError` comes from what we act upon: the kernel, ExaBGP, a peer, an API server. ``retry`` says whether
  trying again may help.
- :class:`BugError` is a broken invariant of our own. Nothing catches it: the agent ends, the pinned datapath and the
  speaker go on, and the supervisor starts the agent again.
"""

from __future__ import annotations

import os

import msgspec


class ConfigProblem(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One thing wrong in one file that an operator wrote.

    ``line`` counts from 1; 0 means that the file as a whole is meant. ``path`` is the key path, like
    ``peers[1].my-asn``. ``problem`` says what is wrong, ``hint`` what would be right.
    """

    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""
    problem: str
    hint: str = ""

    def __str__(self) -> str:
        """One line, in the form that editors and operators can follow: ``file:line: path: problem (hint)``."""
        place = ":".join(part for part in (self.file, str(self.line) if self.line else "") if part)
        text = ": ".join(part for part in (place, self.path, self.problem) if part)
        return f"{text} ({self.hint})" if self.hint else text


class TargetError(Exception):
    """What we act upon refused or failed.

    ``op`` names the operation in the target's own words (``bpf_map_update_elem lb_backends``), ``errno`` is 0 where
    the target has no such number, ``detail`` holds its message.
    """

    def __init__(self, op: str, *, errno: int = 0, detail: str = "", retry: bool = True) -> None:
        """Build the message ``op: strerror: detail`` from its parts."""
        reason = os.strerror(errno) if errno else ""
        super().__init__(": ".join(part for part in (op, reason, detail) if part))
        self.op = op
        self.errno = errno
        self.detail = detail
        self.retry = retry


class BugError(AssertionError):
    """An invariant of our own does not hold."""
