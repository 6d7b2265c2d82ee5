"""The rules of ``drain``, each with an example that keeps it and one that breaks it."""

from __future__ import annotations

from tests.announcer.config.examples import Rule


def _drain(name: str, valid: str, invalid: str, key: str, problem: str, hint: str) -> Rule:
    return Rule(name, f"drain: {valid}", f"drain: {invalid} # <-", f"drain{key}", problem, hint)


DRAIN_RULES = [
    _drain("drain is a map", "{on-cordon: true}", "true", "", "must be a map, not a single value", "on-cordon"),
    _drain("on-cordon", "{on-cordon: no}", "{on-cordon: 1}", ".on-cordon", "neither true nor false", "true or false"),
    _drain("floor", "{floor: 0}", "{floor: -1}", ".floor", "is not a whole number", ""),
    _drain("taints", "{taints: [example.com/a, b]}", "{taints: ['a b']}", ".taints[0]", "is not a label key", ""),
    _drain("taints is a list", "{taints: []}", "{taints: a}", ".taints", "must be a list of taint keys", ""),
    _drain("drain has no other key", "{}", "{on-taint: true}", ".on-taint", "is not a key here", '"taints"'),
]
