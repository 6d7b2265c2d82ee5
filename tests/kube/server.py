"""One kube-apiserver with its etcd, on loopback, as child processes of the tests.

The API server can be stopped and started again while etcd goes on: then every watch from before answers 410, as after a
restart in the field. It must be stopped before etcd, or it hangs for minutes trying to reach it.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
from pathlib import Path

import urllib3

from tests.kube.api import Api, ApiError, Manifest
from tests.kube.binaries import binary
from tests.lab.poll import LabError, until

#: A cold start on a machine that is busy with other things.
START_SECONDS = 90

#: Only what the tests want to see at work: the rest would need a cloud, a scheduler or kubelets.
CONTROLLERS = (
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "endpointslice-controller",
    "node-ipam-controller",
    "garbage-collector-controller",
    "namespace-controller",
)

#: Admission that needs controllers (a default ServiceAccount in every namespace) or would need kubelets.
_ADMISSION_OFF = "ServiceAccount,DefaultTolerationSeconds,TaintNodesByCondition"

#: Kinds of which a test leaves nothing to the next.
_EMPTIED = ("DaemonSet", "Deployment", "Pod", "Service", "EndpointSlice", "ConfigMap", "Secret", "Lease", "Event")

#: What the API server and its controllers make for themselves.
_OF_THE_CLUSTER = (
    "kubernetes",
    "kube-root-ca.crt",
    "extension-apiserver-authentication",
    "kube-apiserver-legacy-service-account-token-tracking",
)

_CLUSTER_CIDR = "10.244.0.0/16"


class KubeServer:
    """Starts with :meth:`start`, ends with :meth:`stop`; ``admin`` may do everything."""

    admin: Api

    def __init__(self, folder: Path) -> None:
        """``folder`` is for its data, keys and logs, and must exist."""
        self.folder = folder
        # Held: the API server comes back to it, and in between others look for a port, too.
        self._reserved = _reserve_port()
        self.port = self._reserved.getsockname()[1]
        self._etcd_port, self._peer_port = _free_ports(2)
        self.url = f"https://127.0.0.1:{self.port}"
        self.admin_token = secrets.token_hex(16)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._api: subprocess.Popen[bytes] | None = None
        self._manager: subprocess.Popen[bytes] | None = None

    @property
    def ca(self) -> Path:
        """The certificate that the API server proves itself with."""
        return self.folder / "certs" / "apiserver.crt"

    def start(self) -> None:
        """Start etcd and the API server; returns when it is ready."""
        self._make_keys()
        self._etcd = self._spawn(
            "etcd",
            f"--data-dir={self.folder / 'data'}",
            f"--listen-client-urls=http://127.0.0.1:{self._etcd_port}",
            f"--listen-peer-urls=http://127.0.0.1:{self._peer_port}",
            "--unsafe-no-fsync",
            # An etcd from elsewhere (ETCD) wants to be told what it tells others.
            *(() if _is_ours() else self._etcd_extra()),
        )
        until(lambda: self._answers(f"http://127.0.0.1:{self._etcd_port}/health"), "etcd answers", START_SECONDS)
        self.start_api()

    def start_api(self, *extra: str) -> None:
        """Start the API server, with ``extra`` arguments; returns when it is ready."""
        keys = self.folder / "keys"
        self._api = self._spawn(
            "kube-apiserver",
            f"--etcd-servers=http://127.0.0.1:{self._etcd_port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--permit-port-sharing",
            "--endpoint-reconciler-type=none",
            f"--cert-dir={self.ca.parent}",
            f"--token-auth-file={keys / 'tokens.csv'}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={keys / 'sa.key'}",
            f"--service-account-signing-key-file={keys / 'sa.key'}",
            "--service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112",
            "--authorization-mode=Node,RBAC",
            "--allow-privileged=true",
            f"--disable-admission-plugins={_ADMISSION_OFF}",
            # Nothing here is so slow that it needs protection from the tests, and the benchmark is not about it.
            "--enable-priority-and-fairness=false",
            "--max-requests-inflight=0",
            "--max-mutating-requests-inflight=0",
            *extra,
        )
        until(self.ca.exists, "the API server has its certificate", START_SECONDS)
        self.admin = self.as_token(self.admin_token)
        until(self.ready, "the API server is ready", START_SECONDS)
        until(lambda: self._has_namespace("kube-system"), "the API server has its namespaces", START_SECONDS)

    def stop_api(self) -> None:
        """Stop the API server, and keep etcd: connections are reset, nothing answers any more."""
        if self._api is not None:
            self.admin.close()
            _end(self._api, signal.SIGKILL)
            self._api = None

    def start_controllers(self) -> None:
        """Start the controllers, if they do not run yet; the controller of EndpointSlices is at work soon after."""
        if self._manager is not None:
            return
        self._manager = self._spawn(
            "kube-controller-manager",
            f"--kubeconfig={self.kubeconfig(self.admin_token, 'controllers')}",
            f"--controllers={','.join(CONTROLLERS)}",
            "--secure-port=0",
            "--leader-elect=false",
            f"--service-account-private-key-file={self.folder / 'keys' / 'sa.key'}",
            f"--root-ca-file={self.ca}",
            "--allocate-node-cidrs=true",
            f"--cluster-cidr={_CLUSTER_CIDR}",
            "--use-service-account-credentials=false",
        )

    def stop_controllers(self) -> None:
        """Stop the controllers if they run; what they have made stays."""
        if self._manager is not None:
            _end(self._manager, signal.SIGKILL)
            self._manager = None

    def stop(self) -> None:
        """End everything."""
        for process in (self._manager, self._api, self._etcd):
            if process is not None:
                _end(process, signal.SIGTERM if process is self._etcd else signal.SIGKILL)
        self._manager = self._api = self._etcd = None
        if hasattr(self, "admin"):
            self.admin.close()
        self._reserved.close()

    def ready(self) -> bool:
        """True if the API server says that it is ready."""
        self._must_live()
        try:
            return bool(self.admin.request("GET", "/readyz") == "ok")
        except (ApiError, urllib3.exceptions.HTTPError):
            return False

    def as_token(self, token: str) -> Api:
        """A client that shows ``token``."""
        return Api(self.url, self.ca, token)

    def kubeconfig(self, token: str, name: str = "kubeconfig", *, url: str = "") -> Path:
        """A kubeconfig file for ``token``; ``url`` if the server is to be reached by another address."""
        path = self.folder / f"{name}.json"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "tests",
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests"}}],
                    "clusters": [
                        {
                            "name": "tests",
                            "cluster": {"server": url or self.url, "certificate-authority": str(self.ca)},
                        }
                    ],
                    "users": [{"name": "tests", "user": {"token": token}}],
                }
            )
        )
        path.chmod(0o600)
        return path

    @property
    def admin_kubeconfig(self) -> Path:
        """A kubeconfig file that may do everything."""
        return self.kubeconfig(self.admin_token, "admin")

    def empty(self) -> None:
        """Delete what tests may have left, so that each begins with the same cluster."""
        for kind in _EMPTIED:
            for item in self.admin.items(kind):
                if not _of_the_cluster(item):
                    self.admin.delete(kind, item["metadata"]["namespace"], item["metadata"]["name"])
        self.admin.delete("Node")
        until(lambda: not self.admin.items("Pod"), "all pods are gone")

    def _make_keys(self) -> None:
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700)
        subprocess.run(["openssl", "genrsa", "-out", keys / "sa.key", "2048"], check=True, capture_output=True)
        (keys / "tokens.csv").write_text(f"{self.admin_token},admin,admin,system:masters\n")

    def _etcd_extra(self) -> tuple[str, ...]:
        peer = f"http://127.0.0.1:{self._peer_port}"
        client = f"http://127.0.0.1:{self._etcd_port}"
        return (
            f"--advertise-client-urls={client}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )

    def _spawn(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        # They must not outlive the tests, however these end.
        argv = ["setpriv", "--pdeathsig", "KILL", "--", str(binary(name)), *arguments]
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder)

    def _must_live(self) -> None:
        for name, process in (("etcd", self._etcd), ("kube-apiserver", self._api)):
            if process is not None and process.poll() is not None:
                log = (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]
                raise LabError(f"{name} ended by itself with {process.returncode}:\n{log}")

    def _answers(self, url: str) -> bool:
        self._must_live()
        try:
            return urllib3.request("GET", url, retries=False, timeout=2).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def _has_namespace(self, name: str) -> bool:
        return any(item["metadata"]["name"] == name for item in self.admin.items("Namespace"))


def _of_the_cluster(item: Manifest) -> bool:
    name = item["metadata"]["name"]
    return name in _OF_THE_CLUSTER or name.startswith("apiserver-")


def _is_ours() -> bool:
    return not os.environ.get("ETCD")


def _free_ports(count: int) -> tuple[int, ...]:
    """Ports that nobody has now. Held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return tuple(item.getsockname()[1] for item in sockets)
    finally:
        for item in sockets:
            item.close()


def _reserve_port() -> socket.socket:
    """A port that is given to nobody else while the socket is open: only who shares it on purpose may listen there."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", 0))
    return made


def _end(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    process.send_signal(number)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
