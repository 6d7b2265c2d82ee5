"""``decode``: one manifest to the objects in it."""

from __future__ import annotations

from collections.abc import Callable
from sys import intern
from typing import Any

import msgspec

from announcer.manifests.config import config_map, secret
from announcer.manifests.endpoint_slice import endpoint_slice
from announcer.manifests.fields import Field, Origin
from announcer.manifests.node import node
from announcer.manifests.service import service
from announcer.model.errors import ConfigProblem
from announcer.model.objects import Kind, KubeObject, ObjectKey
from announcer.yamltree import shown


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """The objects of a manifest. An object with a problem is not among them."""

    objects: tuple[KubeObject, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()


_READERS: dict[str, tuple[str, bool, Callable[[Field, ObjectKey], KubeObject]]] = {
    Kind.NODE: ("v1", False, node),
    Kind.SERVICE: ("v1", True, service),
    Kind.ENDPOINT_SLICE: ("discovery.k8s.io/v1", True, endpoint_slice),
    Kind.CONFIG_MAP: ("v1", True, config_map),
    Kind.SECRET: ("v1", True, secret),
}


def decode(manifest: Any, origin: Origin | None = None) -> Decoded:
    """The objects in ``manifest``: a plain value as parsed from JSON or YAML, one object or a List of them.

    Kinds that are not read are left out silently. Never raises for what the manifest says.
    """
    problems: list[ConfigProblem] = []
    root = Field(manifest, (), origin or Origin(), problems)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("kind"), str):
        root.wrong("is not a Kubernetes object: it has no kind", _hint(manifest))
        return Decoded(problems=tuple(problems))
    if manifest["kind"].endswith("List") and "items" in manifest:
        # The items of a typed list (ServiceList) may leave out their own kind.
        kind = manifest["kind"].removesuffix("List")
        objects = [_object(item, kind, manifest.get("apiVersion")) for item in root.get("items").items()]
    else:
        objects = [_object(root, "", None)]
    return Decoded(objects=tuple(item for item in objects if item is not None), problems=tuple(problems))


def _object(field: Field, list_kind: str, list_version: Any) -> KubeObject | None:
    before = len(field.problems)
    kind = field.get("kind").text(list_kind)
    known = _READERS.get(kind)
    if known is None:
        if not kind and len(field.problems) == before:
            field.wrong("is not a Kubernetes object: it has no kind")
        return None
    version, namespaced, read = known
    found = field.get("apiVersion").text(str(list_version or ""))
    if found != version:
        field.get("apiVersion").wrong(f'"{shown(found)}" is not a version of {kind} that is read', f"write {version}")
        return None
    metadata = field.get("metadata")
    name = metadata.get("name").text()
    if not name and len(field.problems) == before:
        metadata.get("name").wrong("is missing", f"give the {kind} a name")
    namespace = intern(metadata.get("namespace").text("default")) if namespaced else ""
    result = read(field, ObjectKey(namespace or "default" if namespaced else "", name))
    return result if len(field.problems) == before else None


def _hint(manifest: Any) -> str:
    if isinstance(manifest, dict) and {"peers", "address-pools"} & manifest.keys():
        return (
            "put a bgp-config in a ConfigMap named bgp-config, or keep it out of the folder and give it with --config"
        )
    return "write apiVersion and kind, or move the file out of the folder"
