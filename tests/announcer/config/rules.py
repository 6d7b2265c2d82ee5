"""All rules of the dialect, from the three files that hold their examples."""

from __future__ import annotations

from tests.announcer.config.examples import (
    ADVERTISEMENT_RULES,
    PEER_RULES,
    POOL_RULES,
    SELECTOR_RULES,
    TOP_RULES,
    Rule,
)
from tests.announcer.config.examples_attributes import ATTRIBUTE_RULES, POD_CIDR_RULES
from tests.announcer.config.examples_bfd import BFD_RULES
from tests.announcer.config.examples_drain import DRAIN_RULES
from tests.announcer.config.examples_sessions import SESSION_RULES

RULES: list[Rule] = [
    *TOP_RULES,
    *PEER_RULES,
    *SESSION_RULES,
    *SELECTOR_RULES,
    *POOL_RULES,
    *ADVERTISEMENT_RULES,
    *ATTRIBUTE_RULES,
    *POD_CIDR_RULES,
    *DRAIN_RULES,
    *BFD_RULES,
]
