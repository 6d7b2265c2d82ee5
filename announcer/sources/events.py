"""What a source tells: values, so that they can be recorded and replayed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Protocol, TypeAlias

import msgspec

from announcer.model.errors import ConfigProblem
from announcer.model.objects import KubeObject, ObjectKey


class Replace(msgspec.Struct, frozen=True, kw_only=True):
    """The complete set of objects of a source at one moment; it replaces every earlier one.

    ``synced`` False: the source cannot be read now, ``objects`` is the last complete set, or empty if there never was
    one. ``problems``: everything that is wrong with the source at this moment, not only what is new.
    """

    objects: tuple[KubeObject, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    synced: bool = True


class Changes(msgspec.Struct, frozen=True, kw_only=True, tag="changes"):
    """What differs from the state after the event before; a source begins with a complete one.

    ``removed`` holds the objects as they were last. One whose place in an index changed stands in both.
    ``problems`` and ``synced`` as in :class:`Replace`.
    """

    changed: tuple[KubeObject, ...] = ()
    removed: tuple[KubeObject, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    synced: bool = True


SourceEvent: TypeAlias = Replace | Changes


class Source(Protocol):
    """Where the objects come from."""

    @property
    def stale_seconds(self) -> float:
        """For how long the source has not been heard, in seconds; 0 while all is well."""
        ...

    def name_secrets(self, keys: Iterable[ObjectKey]) -> None:
        """Secrets that a configuration names which does not come from the source. It need bring no others."""
        ...

    def look_closely(self, wanted: bool) -> bool:
        """While ``wanted``, keep what is known of other nodes fresh, whatever that costs. True if it is fresh now."""
        ...

    def look_again(self) -> None:
        """What is known of other nodes may not be so any more: look soon rather than at the next time."""
        ...

    def events(self) -> AsyncIterator[SourceEvent]:
        """The events, without end."""
        ...
