"""A small client for the tests: requests in, plain values out.

Not the client of the product: a test that asked with the code under test would not see what that code does wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

Manifest = dict[str, Any]

#: API group and version, and plural name, of each kind that the tests use.
_PLACES = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Event": ("api/v1", "events"),
    "Namespace": ("api/v1", "namespaces"),
    "Node": ("api/v1", "nodes"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "DaemonSet": ("apis/apps/v1", "daemonsets"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("apis/rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings"),
}

PATCH_TYPES = {
    "strategic": "application/strategic-merge-patch+json",
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


class ApiError(Exception):
    """The API server said no. ``code`` is the HTTP status, ``reason`` the word in its Status object."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason


def path_of(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    """The path of an object, or of a collection if ``name`` is empty; all namespaces if ``namespace`` is."""
    group, plural = _PLACES[kind]
    parts = [group, *(("namespaces", namespace) if namespace else ()), plural, name, subresource]
    return "/" + "/".join(part for part in parts if part)


def place_of(path: str) -> tuple[str, str]:
    """The kind and the namespace that the path of a collection names; both empty if it names none."""
    for kind, (group, plural) in _PLACES.items():
        rest = path.strip("/").removeprefix(group).strip("/").split("/")
        if path.strip("/").startswith(group) and rest[-1] == plural:
            return kind, rest[1] if rest[0] == "namespaces" and len(rest) == 3 else ""
    return "", ""


class Api:
    """Talks to one API server as one user. Raises :class:`ApiError` for every answer that is not a success."""

    def __init__(self, url: str, ca: Path, token: str) -> None:
        self.url = url
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        self._pool = urllib3.PoolManager(ca_certs=str(ca), retries=False, timeout=urllib3.Timeout(20), maxsize=8)

    def close(self) -> None:
        """Close all connections."""
        self._pool.clear()

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request; ``body`` is sent as JSON. The answer as a plain value, text if it is not JSON."""
        target = self.url + path + ("?" + urlencode(query) if query else "")
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, "Content-Type": content_type}
        answer = self._pool.request(method, target, body=data, headers=headers)
        text = answer.data.decode()
        value = json.loads(text) if "json" in answer.headers.get("Content-Type", "") else text
        if answer.status >= 400:
            status = value if isinstance(value, dict) else {}
            raise ApiError(answer.status, status.get("reason", ""), status.get("message", text))
        return value

    def get(self, kind: str, namespace: str = "", name: str = "", **query: str) -> Manifest:
        """One object, or the list of a collection."""
        found: Manifest = self.request("GET", path_of(kind, namespace, name), query=query)
        return found

    def items(self, kind: str, namespace: str = "", **query: str) -> list[Manifest]:
        """The objects of a collection."""
        found: list[Manifest] = self.get(kind, namespace, **query)["items"]
        return found

    def create(self, manifest: Manifest, *, status: bool = True) -> Manifest:
        """Create an object, and then its ``status`` if it has one (the API takes that by a second request only)."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace", "")
        made: Manifest = self.request("POST", path_of(manifest["kind"], namespace), manifest)
        if status and "status" in manifest and "name" in metadata:
            return self.patch(manifest["kind"], namespace, metadata["name"], {"status": manifest["status"]}, "status")
        return made

    def ensure(self, manifest: Manifest) -> None:
        """Create an object unless it is there already."""
        try:
            self.create(manifest)
        except ApiError as error:
            if error.code != 409:
                raise

    def replace(self, manifest: Manifest) -> Manifest:
        """Write an object anew; a ``resourceVersion`` in it must be the present one."""
        metadata = manifest["metadata"]
        path = path_of(manifest["kind"], metadata.get("namespace", ""), metadata["name"])
        made: Manifest = self.request("PUT", path, manifest)
        return made

    def patch(
        self, kind: str, namespace: str, name: str, change: Any, subresource: str = "", how: str = "merge"
    ) -> Manifest:
        """Change part of an object. ``how`` is one of :data:`PATCH_TYPES`."""
        path = path_of(kind, namespace, name, subresource)
        query = {"fieldManager": "lockstep-tests", "force": "true"} if how == "apply" else None
        made: Manifest = self.request("PATCH", path, change, query, content_type=PATCH_TYPES[how])
        return made

    def delete(self, kind: str, namespace: str = "", name: str = "", *, grace: int = 0) -> None:
        """Delete an object, or a whole collection; an object that is not there is fine.

        ``grace``: for so many seconds a Pod terminates, or until its kubelet deletes it at once.
        """
        options = {"gracePeriodSeconds": grace, "propagationPolicy": "Background"}
        try:
            self.request("DELETE", path_of(kind, namespace, name), options)
        except ApiError as error:
            if error.code != 404:
                raise

    def token(self, namespace: str, account: str, seconds: int = 3600) -> str:
        """A token of a ServiceAccount by TokenRequest, as a pod gets it; the least that the API gives is 600 s."""
        path = path_of("ServiceAccount", namespace, account, "token")
        body = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "spec": {"expirationSeconds": seconds},
        }
        token: str = self.request("POST", path, body)["status"]["token"]
        return token

    def watch(self, kind: str, seconds: int, **query: str) -> Iterator[Manifest]:
        """The events of a watch over all namespaces, until the server ends it after ``seconds``."""
        full = {"watch": "true", "timeoutSeconds": str(seconds), **query}
        target = f"{self.url}{path_of(kind)}?{urlencode(full)}"
        answer = self._pool.request("GET", target, headers=self._headers, preload_content=False, timeout=seconds + 20)
        try:
            if answer.status >= 400:
                raise ApiError(answer.status, "", answer.read().decode())
            buffer = b""
            for piece in answer.stream(65536):
                *lines, buffer = (buffer + piece).split(b"\n")
                yield from map(json.loads, filter(None, lines))
        finally:
            answer.drain_conn() if answer.closed else answer.close()
