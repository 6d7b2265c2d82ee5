"""The rules of ``bfd-profiles``, each with an example that keeps it and one that breaks it."""

from __future__ import annotations

from tests.announcer.config.examples import Rule, peer


def _rule(name: str, valid: str, invalid: str, key: str, problem: str, hint: str) -> Rule:
    good, bad = (f"bfd-profiles:\n- name: fast\n  {keys}\n" for keys in (valid, f"{invalid} # <-"))
    return Rule(name, good, bad, f"bfd-profiles[0].{key}", problem, hint)


def _named(profile: str) -> str:
    return peer(f"bfd-profile: {profile}") + "bfd-profiles: [{name: fast}, {name: slow}]\n"


BFD_RULES = [
    *(
        _rule(f"{key} {bad}", f"{key}: {good}", f"{key}: {bad}", key, f"{bad} is out of range", f"from {low} to {high}")
        for key, low, high in (
            ("receive-interval", 10, 60000),
            ("transmit-interval", 10, 60000),
            ("echo-interval", 10, 60000),
            ("detect-multiplier", 2, 255),
            ("minimum-ttl", 1, 254),
        )
        for good, bad in ((low, low - 1), (high, high + 1))
    ),
    _rule(
        "interval unit", "receive-interval: 300", "receive-interval: 300ms", "receive-interval", "whole number", "300"
    ),
    *(
        _rule(f"{key} truth", f"{key}: true", f"{key}: 1", key, "neither true nor false", "write true or false")
        for key in ("echo-mode", "passive-mode")
    ),
    _rule("profile key", "echo-mode: no", "echoMode: no", "echoMode", "is not a key here", '"echo-mode"'),
    Rule(
        "profile name needed",
        "bfd-profiles: [{name: a}]",
        "bfd-profiles: [{echo-mode: true}] # <-",
        "bfd-profiles[0].name",
        "is missing",
        "name: fast",
    ),
    Rule(
        "profile name once",
        "bfd-profiles:\n- {name: a}\n- {name: b}",
        "bfd-profiles:\n- {name: a}\n- {name: a} # <-",
        "bfd-profiles[1]",
        '"a" stands there already',
        "a name of its own",
    ),
    Rule("profiles are a list", "bfd-profiles: []", "bfd-profiles: {} # <-", "bfd-profiles", "must be a list", '"- "'),
    Rule(
        "profile of a peer",
        _named("fast"),
        _named("faster # <-"),
        "peers[0].bfd-profile",
        '"faster" is not in bfd-profiles',
        "fast, slow",
    ),
]
