"""What a health-check node port answers: the JSON and the status that load balancers know from kube-proxy.

200 if this node has endpoints of the Service and serves its VIPs, as proved by the datapath; else 503. Fields and
headers are those of ``pkg/proxy/healthcheck`` in Kubernetes; ``reason`` is ours, and only there beside a 503.
"""

from __future__ import annotations

from typing import Any

from announcer.model.desired import HealthCheck, Reason
from announcer.model.net import IPAddress
from announcer.status.http import Response, json_response
from announcer.status.sight import Sight

#: How many endpoints stand behind this node, for load balancers that share by that.
WEIGHT_HEADER = "X-Load-Balancing-Endpoint-Weight"


def answer(sight: Sight, check: HealthCheck) -> Response:
    """The answer of one port at this moment."""
    reason = why_unhealthy(sight, check)
    body: dict[str, Any] = {
        "service": {"namespace": check.service.namespace, "name": check.service.name},
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": _serves(sight, check.vips),
    }
    if reason is not None:
        body["reason"] = reason
    weight = check.local_endpoints if reason is None else 0
    found = json_response(body, 200 if reason is None else 503)
    return Response(
        found.status,
        found.body,
        found.content_type,
        (("X-Content-Type-Options", "nosniff"), (WEIGHT_HEADER, str(weight))),
    )


def why_unhealthy(sight: Sight, check: HealthCheck) -> Reason | None:
    """Why a load balancer should not send here; None if it may."""
    if check.refused is not None:
        return check.refused
    if not check.local_endpoints:
        return Reason.NO_LOCAL_ENDPOINTS
    return None if _serves(sight, check.vips) else Reason.NOT_PROVEN


def _serves(sight: Sight, vips: tuple[IPAddress, ...]) -> bool:
    """The datapath stands, and has proved each of these VIPs."""
    seen = sight.observed.datapath
    proofs = [sight.observed.proofs.get(vip) for vip in vips]
    return seen.attached and not seen.problem and all(proof is not None and proof.ok for proof in proofs)


def health_checks(sight: Sight) -> list[dict[str, Any]]:
    """Every health-check node port of this node, for the status."""
    return [
        {
            "service": str(check.service),
            "port": check.port,
            "healthy": why_unhealthy(sight, check) is None,
            "reason": why_unhealthy(sight, check),
            "local_endpoints": check.local_endpoints,
            "problem": sight.closed_ports.get(check.port),
        }
        for check in sight.desired.health_checks
    ]
