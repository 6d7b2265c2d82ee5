"""``bfd-profiles``: how fast a dead link is to be noticed (RFC 5880), as MetalLB 0.12 spelled it."""

from __future__ import annotations

from announcer.config.scalars import text, truth, whole
from announcer.config.walk import At, Keys, WrongValue
from announcer.model.bgp import BfdProfile
from announcer.yamltree import Node, shown

KEYS = Keys(
    served=(
        "name",
        "receive-interval",
        "transmit-interval",
        "echo-interval",
        "detect-multiplier",
        "minimum-ttl",
        "echo-mode",
        "passive-mode",
    )
)

#: By name; None for one that is wrong, so that whoever names it is not told that it does not exist.
BfdProfiles = dict[str, BfdProfile | None]


def read_bfd_profiles(at: At | None) -> BfdProfiles:
    """The profiles by name. What is not set is as FRR has it by default."""
    found: BfdProfiles = {}
    for item in at.items("profiles") if at is not None else ():
        fields = item.fields(KEYS)
        name = fields.need("name", text, "fast") if fields is not None else None
        if fields is None or name is None:
            continue
        if name in found:
            item.wrong(f'a profile "{shown(name)}" stands there already', "give each a name of its own")
        interval = whole(10, 60000, 300)
        found[name] = BfdProfile(
            receive_interval=fields.read("receive-interval", interval, 300),
            transmit_interval=fields.read("transmit-interval", interval, 300),
            echo_interval=fields.read("echo-interval", interval, 50),
            detect_multiplier=fields.read("detect-multiplier", whole(2, 255, 3), 3),
            minimum_ttl=fields.read("minimum-ttl", whole(1, 254, 254), 254),
            echo_mode=fields.read("echo-mode", truth, False),
            passive_mode=fields.read("passive-mode", truth, False),
        )
    return found


def read_bfd_profile(at: At | None, profiles: BfdProfiles) -> BfdProfile | None:
    """The profile that a peer names, None if it names none."""

    def convert(node: Node) -> BfdProfile | None:
        name = text(node)
        if name not in profiles:
            known = ", ".join(shown(one) for one in list(profiles)[:8]) or "none"
            raise WrongValue(f'"{shown(name)}" is not in bfd-profiles', f"the profiles of this file: {known}")
        return profiles[name]

    return at.read(convert) if at is not None else None
