"""Protobuf from an API server: what is read, what is passed over, and that wrong bytes are an error and no more.

That the numbers of the fields are right is what ``tests/kube/test_encodings.py`` shows, with a real API server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from announcer.model.objects import Kind
from announcer.sources.kube.resources import ENDPOINT_SLICES, SERVICES, Resource, other_nodes
from announcer.sources.kube.wire import JSON, Encoding, RemoteObject, WireError, accept, encoding_of, read_object
from announcer.sources.kube.wire.frames import MAX_FRAME, FrameSplitter
from announcer.sources.kube.wire.protobuf import Message, integer, one, text, text_map, texts, time, truth
from tests.announcer.sources.kube.protobuf_writer import field, frame, message, varint, wrapped

PROTOBUF = "application/vnd.kubernetes.protobuf"
SLICES = encoding_of(PROTOBUF, Kind.ENDPOINT_SLICE)

META = message((1, "web-1"), (3, "default"), (6, "7"), (11, message((1, "kubernetes.io/service-name"), (2, "web"))))
ENDPOINT = message((1, "10.0.0.1"), (2, message((1, 0), (2, 1), (3, 1))), (6, "n1"), (8, message((1, field(1, "a")))))
PORT = message((1, "http"), (2, "TCP"), (3, 8080))
SLICE = message((1, META), (2, ENDPOINT), (3, PORT), (4, "IPv4"))
STATUS = wrapped("Status", message((2, "Failure"), (3, "too old"), (4, "Expired"), (6, 410)))

SAME_IN_JSON = {
    "metadata": {
        "name": "web-1",
        "namespace": "default",
        "resourceVersion": "7",
        "labels": {"kubernetes.io/service-name": "web"},
    },
    "endpoints": [
        {
            "addresses": ["10.0.0.1"],
            "conditions": {"ready": False, "serving": True, "terminating": True},
            "nodeName": "n1",
            "hints": {"forZones": [{"name": "a"}]},
        }
    ],
    "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    "addressType": "IPv4",
}


class Content:
    """A body that comes in pieces of ``size`` bytes."""

    def __init__(self, data: bytes, size: int = 1 << 16) -> None:
        self.data, self.size = data, size

    async def iter_any(self) -> AsyncIterator[bytes]:
        for begin in range(0, len(self.data), self.size):
            yield self.data[begin : begin + self.size]


def read(encoding: Encoding, data: bytes, size: int = 1 << 16, resource: Resource = ENDPOINT_SLICES) -> list[Any]:
    """What a watch brings: objects, or a Status."""

    async def collect() -> list[Any]:
        found: list[Any] = []
        async for event in encoding.events(Content(data, size)):  # type: ignore[arg-type]
            if event.type == "ERROR":
                found.append(event.object.status())
            else:
                found.append(read_object(event.object, resource, known=event.type != "DELETED"))
        return found

    return asyncio.run(collect())


def test_an_event_means_what_the_same_in_json_means() -> None:
    line = json.dumps({"type": "ADDED", "object": SAME_IN_JSON}).encode() + b"\n"
    found = read(SLICES, frame("ADDED", wrapped("EndpointSlice", SLICE)))
    assert found == read(JSON, line)
    (only,) = found
    assert only.item.endpoints[0].terminating
    assert not only.item.endpoints[0].ready, "false is not the same as absent"
    assert only.version == 7


def test_what_is_deleted_and_what_went_wrong() -> None:
    gone, status = read(SLICES, frame("DELETED", wrapped("EndpointSlice", SLICE)) + frame("ERROR", STATUS))
    assert isinstance(gone, RemoteObject)
    assert gone.item is None
    assert (status.code, status.reason, status.message) == (410, "Expired", "too old")


def test_a_page_of_a_list() -> None:
    body = wrapped("EndpointSliceList", message((1, message((2, "9"), (3, "next"))), (2, SLICE), (2, SLICE)))
    page = SLICES.page(body)
    assert (page.version, page.more) == ("9", "next")
    assert [read_object(item, ENDPOINT_SLICES).key.name for item in page.items] == ["web-1", "web-1"]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_frames_may_come_in_any_pieces(size: int) -> None:
    data = frame("ADDED", wrapped("EndpointSlice", SLICE)) * 3
    assert read(SLICES, data, size) == read(SLICES, data)
    assert len(read(SLICES, data[:-1], size)) == 2, "one without its end is none"


def test_a_frame_that_no_object_can_have_is_refused_at_its_header() -> None:
    with pytest.raises(WireError, match="frame"):
        list(FrameSplitter().feed((MAX_FRAME + 1).to_bytes(4, "big")))


EVERYTHING = Message(
    word=text(1),
    words=texts(2),
    labels=text_map(3),
    on=truth(4),
    count=integer(5),
    at=time(6),
    below=one(7, Message(continue_=text(1))),
)


def test_every_sort_of_field() -> None:
    data = message(
        *((1, "ä"), (2, "a"), (2, "b"), (3, message((1, "k"), (2, "v"))), (3, field(1, "empty")), (4, 1), (5, -2)),
        *((6, message((1, 1_700_000_000), (2, 5))), (7, field(1, "c"))),
    )
    assert EVERYTHING.read(data) == {
        "word": "ä",
        "words": ["a", "b"],
        "labels": {"k": "v", "empty": ""},
        "on": True,
        "count": -2,
        "at": "2023-11-14T22:13:20Z",
        "below": {"continue": "c"},
    }


def test_fields_that_nobody_uses_are_passed_over_whatever_their_type() -> None:
    unknown = (
        field(900, 1 << 63) + field(901, b"x" * 300) + varint(902 << 3 | 1) + bytes(8) + varint(903 << 3 | 5) + bytes(4)
    )
    assert EVERYTHING.read(unknown + field(1, "a") + unknown) == {"word": "a"}


def test_a_time_that_was_never_set_is_empty() -> None:
    assert EVERYTHING.read(field(6, b"")) == {"at": ""}
    assert EVERYTHING.read(field(6, field(1, -62135596800))) == {"at": ""}, "Go's own zero"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (field(1, 7), "wire type"),
        (field(4, "x"), "wire type"),
        (varint(1 << 3 | 3), "wire type 3"),
        (varint(1 << 3 | 2) + b"\x05abc", "beyond"),
        (varint(1 << 3 | 2), "ends inside"),
        (b"\x80", "ends inside"),
        (varint(4 << 3) + b"\xff" * 11, "ten bytes"),
        (varint(902 << 3 | 1) + bytes(7), "beyond"),
        (field(1, b"\xff"), "UTF-8"),
        (field(6, field(1, 1 << 62)), "calendar"),
        (field(7, field(1, 1)), "wire type"),
    ],
)
def test_bytes_that_are_wrong_are_an_error_in_words(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        EVERYTHING.read(data)


@pytest.mark.parametrize("data", [b"", b"k8s", b"{}", b"k8s\x00" + field(2, SLICE) + field(3, "gzip")])
def test_what_is_not_wrapped_as_it_should_be_is_no_object(data: bytes) -> None:
    with pytest.raises(WireError):
        read(SLICES, frame("ADDED", data))
    with pytest.raises(WireError):
        SLICES.page(data)


def test_an_answer_for_people_is_a_status_without_words() -> None:
    assert SLICES.status(b"<html>bad gateway</html>") == JSON.status(b"<html>") == type(SLICES.status(b""))()


def test_what_is_asked_for_and_what_is_taken() -> None:
    assert accept(Kind.SERVICE, watch=True, protobuf=True) == f"{PROTOBUF};stream=watch, application/json"
    assert accept(Kind.SERVICE, watch=False, protobuf=True) == f"{PROTOBUF}, application/json"
    assert accept(Kind.SERVICE, watch=True, protobuf=False) == "application/json"
    assert accept(Kind.SECRET, watch=True, protobuf=True) == "application/json", "there is one of each"
    assert encoding_of("application/json", Kind.SERVICE) is JSON
    assert encoding_of("", Kind.SERVICE) is JSON


RESOURCES = (ENDPOINT_SLICES, SERVICES, other_nodes("n1"))
SEED = frame("ADDED", wrapped("EndpointSlice", SLICE)) + frame("ERROR", STATUS)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good stream in which some bytes are others, are missing or come twice."""
    data = bytearray(SEED)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data) - 1))
        kind = draw(st.sampled_from(("other", "missing", "twice")))
        if kind == "other":
            data[at] = draw(st.integers(0, 255))
        else:
            end = draw(st.integers(at, len(data)))
            data[at:end] = b"" if kind == "missing" else bytes(data[at:end]) * 2
        if not data:
            return b""
    return bytes(data)


def holds_for_every_kind(data: bytes, reader: Callable[[Encoding, Resource], Any]) -> None:
    for resource in RESOURCES:
        with contextlib.suppress(WireError):
            reader(encoding_of(PROTOBUF, resource.kind), resource)


@given(damaged() | st.binary(max_size=400))
@example(b"")
def test_no_bytes_of_a_watch_raise_anything_but_a_wire_error(data: bytes) -> None:
    holds_for_every_kind(data, lambda encoding, resource: read(encoding, data, resource=resource))


@given(damaged() | st.binary(max_size=400))
def test_no_bytes_of_an_answer_raise_anything_but_a_wire_error(data: bytes) -> None:
    def page(encoding: Encoding, resource: Resource) -> None:
        for item in encoding.page(data).items:
            read_object(item, resource)

    for begin in (0, 4):
        body = data[begin:]
        holds_for_every_kind(body, page)
        encoding_of(PROTOBUF, Kind.NODE).status(body)


@given(st.binary(max_size=300))
def test_any_object_is_an_object_or_an_error(inner: bytes) -> None:
    """Wrapped rightly, so that the inner message is reached each time."""
    data = frame("ADDED", wrapped("Any", inner))
    holds_for_every_kind(data, lambda encoding, resource: read(encoding, data, resource=resource))
