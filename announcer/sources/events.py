"""What a source tells: values, so that they can be recorded and replayed."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from announcer.model.errors import ConfigProblem
from announcer.model.objects import KubeObject


class Replace(msgspec.Struct, frozen=True, kw_only=True):
    """The complete set of objects of a source at one moment; it replaces every earlier one.

    ``synced`` False: the source cannot be read now, ``objects`` is the last complete set, or empty if there never was
    one. ``problems``: everything that is wrong with the source at this moment, not only what is new.
    """

    objects: tuple[KubeObject, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    synced: bool = True


SourceEvent: TypeAlias = Replace
