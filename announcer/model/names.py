"""Names of ours in the Kubernetes API: annotations, conditions, the class of load balancer.

The prefix is a plain word: Kubernetes takes any DNS subdomain, and we own no domain that it could be.
"""

from __future__ import annotations

PREFIX = "lockstep/"

#: ``spec.loadBalancerClass`` of a Service that is ours for certain; one without a class is ours too.
LOAD_BALANCER_CLASS = PREFIX + "bgp"

#: Annotations of a Service: addresses that it wants (comma-separated), the pool that they should come from, and the
#: group with which it shares them.
ADDRESSES_ANNOTATION = PREFIX + "addresses"
POOL_ANNOTATION = PREFIX + "address-pool"
SHARE_ANNOTATION = PREFIX + "allow-shared-ip"

#: Annotations of a Service that win over the keys of its pool that are called the same.
READINESS_ANNOTATION = PREFIX + "readiness"
ZERO_ENDPOINTS_ANNOTATION = PREFIX + "zero-endpoints"
NOT_READY_CONNECTIONS_ANNOTATION = PREFIX + "not-ready-connections"

#: Annotation of a Service that wins over the mode of the installation: how its packets reach backends on other nodes.
LB_MODE_ANNOTATION = PREFIX + "lb-mode"

#: The condition of a Service that says whether it has its addresses, and that they came from us.
ALLOCATED_CONDITION = PREFIX + "AddressAllocated"
