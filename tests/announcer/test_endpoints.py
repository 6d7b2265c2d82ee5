"""An endpoint that stands in several slices is one endpoint."""

from __future__ import annotations

from ipaddress import IPv4Address

from hypothesis import given
from hypothesis import strategies as st

from announcer.config.types import Readiness
from announcer.decide.endpoints import endpoints_of
from announcer.model.objects import Endpoint, EndpointSlice, ServicePort, SlicePort
from tests.announcer.build import NODE, key

NAMES = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(tuple)
ENDPOINTS = st.builds(
    Endpoint,
    addresses=st.just((IPv4Address("10.244.1.10"),)),
    ready=st.booleans(),
    serving=st.booleans(),
    terminating=st.booleans(),
    node_name=st.sampled_from(["", NODE, "elsewhere"]),
    zone=st.sampled_from(["", "a"]),
    for_zones=NAMES,
    for_nodes=NAMES,
)


@given(ENDPOINTS, st.booleans(), st.sampled_from(Readiness))
def test_to_be_told_twice_is_to_be_told(endpoint: Endpoint, publish_not_ready: bool, readiness: Readiness) -> None:
    def behind(*slices: tuple[Endpoint, ...]) -> object:
        return endpoints_of(
            [
                EndpointSlice(
                    key=key(f"web-{number}"), service=key("web"), ports=(SlicePort(port=8080),), endpoints=each
                )
                for number, each in enumerate(slices)
            ],
            ServicePort(port=80),
            version=4,
            node_name=NODE,
            readiness=readiness,
            publish_not_ready=publish_not_ready,
        )

    assert behind((endpoint,)) == behind((endpoint,), (endpoint,)) == behind((endpoint, endpoint))
