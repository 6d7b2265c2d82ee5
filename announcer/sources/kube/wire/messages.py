"""The messages that are read, with the numbers of the fields that are used.

The numbers are those of ``generated.proto`` beside the types in k8s.io/api (core/v1, discovery/v1) and
k8s.io/apimachinery (meta/v1, runtime). A number, once given, never changes its meaning; a field that is not here is
passed over. What a kind needs here is what its reader in ``announcer.manifests`` looks at.
"""

from __future__ import annotations

from announcer.model.objects import Kind
from announcer.sources.kube.wire.protobuf import (
    Message,
    integer,
    many,
    one,
    raw,
    raws,
    text,
    text_map,
    texts,
    time,
    truth,
)

# k8s.io/apimachinery/pkg/runtime

_TYPE_META = Message(apiVersion=text(1), kind=text(2))
#: What every object is wrapped in, behind the bytes that mark it.
UNKNOWN = Message(typeMeta=one(1, _TYPE_META), raw=raw(2), contentEncoding=text(3))
_RAW_EXTENSION = Message(raw=raw(1))

# k8s.io/apimachinery/pkg/apis/meta/v1

_OBJECT_META = Message(
    name=text(1),
    namespace=text(3),
    uid=text(5),
    resourceVersion=text(6),
    creationTimestamp=time(8),
    labels=text_map(11),
    annotations=text_map(12),
)
_CONDITION = Message(type=text(1), status=text(2), lastTransitionTime=time(4), reason=text(5), message=text(6))
WATCH_EVENT = Message(type=text(1), object=one(2, _RAW_EXTENSION))
STATUS = Message(message=text(3), reason=text(4), code=integer(6))
#: Any list. Its items stand without a wrapping.
LIST = Message(metadata=one(1, Message(resourceVersion=text(2), continue_=text(3))), items=raws(2))
#: Any object, and nothing of it but what the protocol itself needs.
ANY = Message(
    metadata=one(1, Message(name=text(1), namespace=text(3), resourceVersion=text(6), annotations=text_map(12)))
)

# k8s.io/api/core/v1

_SERVICE_PORT = Message(name=text(1), protocol=text(2), port=integer(3), nodePort=integer(5))
_CLIENT_IP = Message(timeoutSeconds=integer(1))
_SERVICE_SPEC = Message(
    ports=many(1, _SERVICE_PORT),
    selector=text_map(2),
    clusterIP=text(3),
    type=text(4),
    externalIPs=texts(5),
    sessionAffinity=text(7),
    loadBalancerIP=text(8),
    loadBalancerSourceRanges=texts(9),
    externalTrafficPolicy=text(11),
    healthCheckNodePort=integer(12),
    publishNotReadyAddresses=truth(13),
    sessionAffinityConfig=one(14, Message(clientIP=one(1, _CLIENT_IP))),
    ipFamilyPolicy=text(17),
    clusterIPs=texts(18),
    ipFamilies=texts(19),
    allocateLoadBalancerNodePorts=truth(20),
    loadBalancerClass=text(21),
    trafficDistribution=text(23),
)
_LOAD_BALANCER = Message(ingress=many(1, Message(ip=text(1), hostname=text(2))))
_SERVICE_STATUS = Message(loadBalancer=one(1, _LOAD_BALANCER), conditions=many(2, _CONDITION))

_TAINT = Message(key=text(1), value=text(2), effect=text(3))
_NODE_SPEC = Message(podCIDR=text(1), unschedulable=truth(4), taints=many(5, _TAINT), podCIDRs=texts(7))
_NODE_STATUS = Message(
    conditions=many(4, Message(type=text(1), status=text(2))),
    addresses=many(5, Message(type=text(1), address=text(2))),
)

# k8s.io/api/discovery/v1

_NAMED = Message(name=text(1))
_ENDPOINT = Message(
    addresses=texts(1),
    conditions=one(2, Message(ready=truth(1), serving=truth(2), terminating=truth(3))),
    nodeName=text(6),
    zone=text(7),
    hints=one(8, Message(forZones=many(1, _NAMED), forNodes=many(2, _NAMED))),
)
_ENDPOINT_PORT = Message(name=text(1), protocol=text(2), port=integer(3))

#: The kinds of which there are many. Of the others there is one object each.
MESSAGES: dict[Kind, Message] = {
    Kind.SERVICE: Message(metadata=one(1, _OBJECT_META), spec=one(2, _SERVICE_SPEC), status=one(3, _SERVICE_STATUS)),
    Kind.NODE: Message(metadata=one(1, _OBJECT_META), spec=one(2, _NODE_SPEC), status=one(3, _NODE_STATUS)),
    Kind.ENDPOINT_SLICE: Message(
        metadata=one(1, _OBJECT_META),
        endpoints=many(2, _ENDPOINT),
        ports=many(3, _ENDPOINT_PORT),
        addressType=text(4),
    ),
}
