"""Whether this node went on forwarding while its sessions were away.

It is what the Forwarding State bit of graceful restart claims (RFC 4724 section 3), and a helper that believes it keeps
sending packets here. So it is claimed for what was *found*, never for what will soon be built: a node that has just
booted has empty maps, and its peers should drop what they kept from before and not wait.
"""

from __future__ import annotations

from announcer.model.net import IPAddress
from announcer.plan.view import View


def forwarding_kept(view: View) -> bool | None:
    """True if everything that should be served is served, from maps that were there before the sessions were.

    That is: they were pinned when this agent came, or peers have been told everything since. None while it cannot be
    said yet, because some VIP is not proven but may be in a moment.
    """
    datapath = view.observed.datapath
    if datapath.problem or not (datapath.adopted or view.observed.completed):
        return False
    if view.index.served and not datapath.attached:
        return False
    if any(_is_open(view, vip) for vip in view.index.unproven):
        return None
    return not view.index.unproven


def _is_open(view: View, vip: IPAddress) -> bool:
    """It is not failing for so long that it would be withdrawn."""
    failing = view.failing_for(vip)
    return failing is None or failing < view.settings.proof_grace
