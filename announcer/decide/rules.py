"""The rules for the endpoints of one Service: those of the pool that its address is from, unless it has its own."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TypeVar

import msgspec

from announcer.config.types import NotReadyConnections, Pool, Readiness, ZeroEndpoints
from announcer.model.names import NOT_READY_CONNECTIONS_ANNOTATION, READINESS_ANNOTATION, ZERO_ENDPOINTS_ANNOTATION
from announcer.model.objects import Service

E = TypeVar("E", bound=StrEnum)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Which endpoints take new connections, what becomes of the route when none does, and of the connections of those
    that are not ready. ``notes``: bad wishes."""

    readiness: Readiness = Readiness.READY_THEN_SERVING
    zero_endpoints: ZeroEndpoints = ZeroEndpoints.WITHDRAW
    not_ready_connections: NotReadyConnections = NotReadyConnections.RESET
    notes: tuple[str, ...] = ()


def rules_of(service: Service, pool: Pool) -> Rules:
    """The rules for ``service`` at an address of ``pool``. An annotation that is no known word changes nothing."""
    notes: list[str] = []
    annotations = service.annotations
    return Rules(
        readiness=_word(annotations, READINESS_ANNOTATION, pool.readiness, notes),
        zero_endpoints=_word(annotations, ZERO_ENDPOINTS_ANNOTATION, pool.zero_endpoints, notes),
        not_ready_connections=_word(annotations, NOT_READY_CONNECTIONS_ANNOTATION, pool.not_ready_connections, notes),
        notes=tuple(notes),
    )


def _word(annotations: Mapping[str, str], name: str, default: E, notes: list[str]) -> E:
    word = annotations.get(name)
    if word is None:
        return default
    kind = type(default)
    if word in tuple(kind):
        return kind(word)
    notes.append(f'annotation {name}: "{word[:40]}" is not one of {", ".join(kind)}; {default} holds, as in its pool')
    return default
