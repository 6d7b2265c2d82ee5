"""The bgp-config dialect: who the neighbors are, which addresses Services may have, and how those are advertised.

Strict on purpose. A key that is not served is an error and never ignored, because an ignored ``password`` or
``localpref`` is found out at night. All problems of a file are reported at once; a configuration with problems does
not exist, so whoever holds a :class:`Config` holds a valid one.

::

    file ── extract ──> text + where it stood ── parse ──> ParseResult(config | None, problems)
"""

from announcer.config.extract import KEY, Extracted, extract, load, parse_config_map
from announcer.config.parse import MAX_BYTES, ParseResult, parse
from announcer.config.types import (
    AddressRange,
    Advertisement,
    Config,
    LabelExpression,
    NodeSelector,
    NotReadyConnections,
    Operator,
    PeerConfig,
    PodCidrs,
    Pool,
    Readiness,
    SecretRef,
    ZeroEndpoints,
)

__all__ = [
    "KEY",
    "MAX_BYTES",
    "AddressRange",
    "Advertisement",
    "Config",
    "Extracted",
    "LabelExpression",
    "NodeSelector",
    "NotReadyConnections",
    "Operator",
    "ParseResult",
    "PeerConfig",
    "PodCidrs",
    "Pool",
    "Readiness",
    "SecretRef",
    "ZeroEndpoints",
    "extract",
    "load",
    "parse",
    "parse_config_map",
]
