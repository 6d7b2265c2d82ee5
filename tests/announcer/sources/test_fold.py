"""The pure core of the folder source: last good content per file, nothing lost on bad input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from announcer.manifests import decode
from announcer.manifests.plain import plain_endpoint
from announcer.model.objects import ConfigMap, EndpointSlice, KubeObject, ObjectKey
from announcer.sources.events import Replace
from announcer.sources.fold import FileState, Unreadable, fold, merge, read_file


def service(name: str, extra: str = "") -> str:
    return f"apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{type: LoadBalancer{extra}}}\n"


def names(event: Replace) -> list[str]:
    return [item.key.name for item in event.objects]


class Folder:
    """A folder that is only a value."""

    def __init__(self) -> None:
        self.files: Mapping[str, FileState] = {}

    def change(
        self,
        *,
        remove: tuple[str, ...] = (),
        contents: Mapping[str, str | bytes] | None = None,
        **more: str | bytes | Unreadable,
    ) -> Replace:
        changed = {
            f"{name}.yaml": content.encode() if isinstance(content, str) else content
            for name, content in {**(contents or {}), **more}.items()
        }
        present = ({*self.files, *changed}) - {f"{name}.yaml" for name in remove}
        self.files = fold(self.files, changed, present)
        return merge(self.files)


def problems(event: Replace) -> list[str]:
    return [str(problem) for problem in event.problems]


def test_several_documents_and_files_in_the_order_of_their_names() -> None:
    event = Folder().change(b=service("three"), a=service("one") + "---\n" + service("two") + "---\n")
    assert (names(event), event.problems, event.synced) == (["one", "two", "three"], (), True)


@pytest.mark.parametrize(
    ("bad", "place", "problem"),
    [
        ("kind: [", "a.yaml:1: kind[0]", "the text ends"),
        (b"\xff", "a.yaml:1", "not UTF-8"),
        (service("web", ", ports: [{port: x}]"), "a.yaml:4: spec.ports[0].port", "must be a number, not text"),
        (service("web") + "---\nkind: {\n", "a.yaml:6", "the text ends"),
        (Unreadable("cannot be read: Permission denied"), "a.yaml", "Permission denied"),
        ("", "a.yaml", "the file is empty"),
        (" \n", "a.yaml", "the file is empty"),
        ("kind: Service\nkind: Service\n", "a.yaml:2: kind", "stands twice"),
    ],
)
def test_a_file_that_became_wrong_keeps_its_last_good_objects(
    bad: str | bytes | Unreadable, place: str, problem: str
) -> None:
    folder = Folder()
    before = folder.change(a=service("web", ", loadBalancerIP: 203.0.113.1"), b=service("other"))
    event = folder.change(a=bad)
    assert event.objects == before.objects
    assert problems(event)[0].startswith(place)
    assert problem in problems(event)[0]
    assert problems(event)[-1:] == ["a.yaml: its last good content (1 object) stays in force"]
    assert folder.change(a=bad) == event
    mended = folder.change(a=service("web"))
    assert (mended.problems, names(mended)) == ((), ["web", "other"])
    assert mended.objects != before.objects


def test_of_a_file_that_never_was_good_the_good_objects_count() -> None:
    folder = Folder()
    half = service("good") + "---\n" + service("bad", ", ports: [{port: x}]")
    event = folder.change(a=half)
    assert names(event) == ["good"]
    assert len(event.problems) == 1
    assert folder.change(a=half) == event
    assert names(folder.change(a=half.replace("name: good", "name: better"))) == ["better"]
    unreadable = folder.change(a="kind: [")
    assert names(unreadable) == ["better"]
    assert len(unreadable.problems) == 2


def test_a_file_that_is_removed_takes_its_objects_and_problems_with_it() -> None:
    folder = Folder()
    folder.change(a=service("one"), b=service("two"))
    folder.change(b="kind: [")
    event = folder.change(remove=("b",))
    assert (names(event), event.problems) == (["one"], ())
    assert names(folder.change(b="kind: [")) == ["one"]


def test_a_file_of_comments_is_meant() -> None:
    folder = Folder()
    folder.change(a=service("one"))
    event = folder.change(a="# retired\n")
    assert (event.objects, event.problems) == ((), ())


def test_of_an_object_in_two_files_the_first_by_name_counts() -> None:
    folder = Folder()
    first, second = service("web", ", loadBalancerIP: 203.0.113.1"), service("web", ", loadBalancerIP: 203.0.113.2")
    event = folder.change(b=second, a=service("x") + "---\n" + first)
    assert [str(address) for item in event.objects for address in getattr(item, "requested", ())] == ["203.0.113.1"]
    assert problems(event) == [
        "b.yaml:1: Service default/web is already in a.yaml, line 6, and that one counts (remove one of the two)"
    ]
    assert folder.change(remove=("a",)).problems == ()


def test_the_same_name_of_another_kind_or_namespace_is_another_object() -> None:
    config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n"
    elsewhere = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: other}\n"
    event = Folder().change(a=service("web"), b=config_map, c=elsewhere)
    assert len(event.objects) == 3
    assert event.problems == ()


def test_a_config_map_knows_the_lines_of_its_values() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bgp-config}\n"
        'data:\n  quoted: "x"\n  config.yaml: |\n    peers: []\n'
    )
    event = Folder().change(a="# first\n---\n" + text)
    assert event.objects == (
        ConfigMap(
            key=ObjectKey("default", "bgp-config"),
            data={"quoted": "x", "config.yaml": "peers: []\n"},
            file="a.yaml",
            lines={"quoted": 0, "config.yaml": 9},
        ),
    )


def test_no_order_of_reading_changes_the_result() -> None:
    texts = {name: service(name).encode() for name in "abc"}
    at_once = fold({}, texts, texts)
    one_by_one: Mapping[str, FileState] = {}
    for name in "cab":
        one_by_one = fold(one_by_one, {name: texts[name]}, {*one_by_one, name})
    assert merge(at_once) == merge(one_by_one)


_CONTENTS = st.sampled_from(
    [service("a"), service("b"), service("a") + "---\n" + service("c"), "kind: [", "", "# x", "- 1"]
)


@given(st.lists(st.tuples(st.sampled_from("xyz"), _CONTENTS | st.binary(max_size=20) | st.none()), max_size=12))
def test_nothing_is_lost_but_by_removal(steps: list[tuple[str, str | bytes | None]]) -> None:
    """Whatever happens to the files: a good file shows its objects, a bad one those it had, a removed one none."""
    folder = Folder()
    expected: dict[str, tuple[KubeObject, ...]] = {}
    for name, content in steps:
        if content is None:
            folder.change(remove=(name,))
            expected.pop(name, None)
            continue
        alone = Folder().change(contents={name: content})
        if (not alone.problems and content.strip()) or not expected.get(name):
            expected[name] = alone.objects
        event = folder.change(contents={name: content})
        wanted = {item.key for objects in expected.values() for item in objects}
        assert {item.key for item in event.objects} == wanted


def as_json(name: str, port: object = 80) -> str:
    spec = {"type": "LoadBalancer", "ports": [{"port": port}]}
    return json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec})


def test_json_gives_the_objects_and_the_places_that_yaml_gives() -> None:
    text = f"{as_json('one')}\n---\n\n{as_json('two')}\n"
    state = read_file("a.json", text.encode())
    assert state == read_file("a.json", f"{text}# not JSON any more\n".encode())
    assert [(placed.item.key.name, placed.line) for placed in state.objects] == [("one", 1), ("two", 4)]


def test_what_is_wrong_in_json_has_its_place() -> None:
    event = Folder().change(a=f"{as_json('good')}\n---\n{as_json('bad', 'x')}\n")
    assert names(event) == ["good"]
    (problem,) = event.problems
    assert (problem.line, problem.path) == (3, "spec.ports[0].port")
    assert problem.column > 1


def test_an_endpoint_is_the_same_however_it_is_read() -> None:
    endpoints: list[dict[str, Any]] = [
        {"addresses": ["10.0.0.1"]},
        {"addresses": ["10.0.0.2"], "nodeName": "n1", "zone": "z", "conditions": {"ready": False, "serving": True}},
        {"addresses": ["10.0.0.3"], "nodeName": None, "conditions": {"terminating": True, "serving": None}},
        {"addresses": ["10.0.0.4"], "conditions": None, "hints": None},
    ]
    for endpoint in endpoints:
        plain = plain_endpoint(endpoint)
        assert plain is not None
        # A second address is more than the short way takes.
        both = {**endpoint, "addresses": [*endpoint["addresses"], "10.0.0.9"]}
        assert plain_endpoint(both) is None
        (long,) = slice_of(both).endpoints
        assert msgspec.structs.replace(long, addresses=long.addresses[:1]) == plain
        assert slice_of(endpoint).endpoints == (plain,)


@pytest.mark.parametrize(
    "endpoint",
    [
        {"addresses": ["10.0.0.01"]},
        {"addresses": ["10.0.0"]},
        {"addresses": ["10.0.0.1\0"]},
        {"addresses": ["fd00::1"]},
        {"addresses": [167772161]},
        {"addresses": "10.0.0.1"},
        {"addresses": []},
        {"addresses": ["10.0.0.1"], "conditions": {"ready": 1}},
        {"addresses": ["10.0.0.1"], "conditions": {"serving": "true"}},
        {"addresses": ["10.0.0.1"], "conditions": []},
        {"addresses": ["10.0.0.1"], "conditions": "x"},
        {"addresses": ["10.0.0.1"], "nodeName": 1},
        {"addresses": ["10.0.0.1"], "nodeName": False},
        {"addresses": ["10.0.0.1"], "zone": []},
        "10.0.0.1",
    ],
)
def test_an_endpoint_with_something_wrong_is_refused(endpoint: Any) -> None:
    assert plain_endpoint(endpoint) is None
    assert decode({**SLICE, "endpoints": [endpoint]}).problems


SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "web"}},
    "addressType": "IPv4",
}


def slice_of(*endpoints: Any) -> EndpointSlice:
    (found,) = decode({**SLICE, "endpoints": list(endpoints)}).objects
    assert isinstance(found, EndpointSlice)
    return found


def test_what_did_not_change_is_the_same_value_as_before() -> None:
    folder = Folder()
    text = service("one") + "---\n" + service("two")
    before = folder.change(a=text, b=service("three"))
    files = folder.files
    folder.change(a=text)
    assert folder.files is files
    commented = folder.change(a="# a comment\n" + text)
    assert folder.files is not files, "the lines are others"
    assert folder.files["b.yaml"] is files["b.yaml"]
    after = folder.change(a=text.replace("name: two", "name: two, labels: {a: b}"))
    for event in (commented, after):
        assert [one is other for one, other in zip(before.objects, event.objects, strict=True)][::2] == [True, True]
    assert after.objects[1] != before.objects[1]
