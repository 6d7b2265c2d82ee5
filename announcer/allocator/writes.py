"""From an assignment to what is written to the Service's status, if anything. Pure.

A strategic merge patch with the resourceVersion that was read: conditions of others stay, and if the Service has
changed meanwhile the API server refuses, and the decision is made anew.
"""

from __future__ import annotations

from typing import Any

from announcer.ipam import Assignment, Outcome
from announcer.model.names import ALLOCATED_CONDITION
from announcer.model.objects import Condition, Service

#: The API server takes no longer one.
_MESSAGE_BYTES = 32768

#: Why the condition is true.
ALLOCATED = "allocated"


def status_patch(service: Service, version: int, assignment: Assignment, stamp: str) -> dict[str, Any] | None:
    """The patch of ``services/status``; None if the status says all of it already.

    ``version`` is the resourceVersion of ``service``, ``stamp`` the time now (RFC 3339).
    """
    if assignment.outcome is Outcome.FOREIGN:
        return None
    wanted = wanted_condition(assignment)
    condition = service.allocation
    same = assignment.addresses == service.ingress
    if same and condition is not None and _said(condition) == _said(wanted):
        return None
    since = stamp
    if condition is not None and condition.status == wanted.status and condition.since:
        since = condition.since
    status: dict[str, Any] = {
        "conditions": [
            {
                "type": ALLOCATED_CONDITION,
                "status": wanted.status,
                "reason": wanted.reason,
                "message": wanted.message,
                "lastTransitionTime": since,
            }
        ]
    }
    if not same:
        # VIP: kube-proxy serves it inside the cluster as well (KEP-1860).
        ingress = [{"ip": str(address), "ipMode": "VIP"} for address in assignment.addresses]
        status["loadBalancer"] = {"ingress": ingress or None}
    return {"metadata": {"resourceVersion": str(version)}, "status": status}


def wanted_condition(assignment: Assignment) -> Condition:
    """What the condition should say. True also of a Service that has an address, but wants another."""
    reason = str(assignment.code) if assignment.code else ALLOCATED
    if assignment.code and assignment.outcome is Outcome.MOVED:
        # Why it moved is told by an Event; that it did is no lasting state.
        reason, message = ALLOCATED, ""
    else:
        message = assignment.detail
    return Condition(
        status="True" if assignment.addresses else "False", reason=reason, message=message[: _MESSAGE_BYTES // 4]
    )


def _said(condition: Condition) -> tuple[str, str, str]:
    return condition.status, condition.reason, condition.message
