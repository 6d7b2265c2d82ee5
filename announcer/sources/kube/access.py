"""Where the API server is, and how this process proves who it is.

Reading a kubeconfig or what a pod is given is the business of the ``kubernetes`` package. The requests themselves are
made with aiohttp, which that package brings along: its own client decodes everything into models (see ``wire``).

Credentials are read again before a connection is made, at most once a minute, and at once when they were refused. So a
token that the kubelet has renewed, a kubeconfig that was exchanged or a new certificate authority is taken up without a
restart. Watches that stand are not disturbed: an API server checks a token when a request begins.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import msgspec
import yaml
from aiohttp import AddrInfoType

from announcer.sources.kube.patience import Timing, Trouble

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

#: What a pod is given (https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/).
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

#: What the loaders of that package raise for files that are not what they expect.
_WRONG_FILE = (ValueError, TypeError, KeyError, AttributeError, IndexError)

#: Credentials older than this, in seconds, are read again before the next connection.
_FRESH = 60.0

#: A connection whose other end is silent at the level of TCP for so long is dead: probes, and data without an answer.
_KEEPALIVE = {socket.TCP_KEEPIDLE: 10, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3, socket.TCP_USER_TIMEOUT: 30_000}


class Connection(msgspec.Struct, frozen=True):
    """A session with one API server. ``headers`` prove who we are, so they are never shown."""

    session: aiohttp.ClientSession
    server: str
    headers: Mapping[str, str]
    options: Mapping[str, Any]

    def __repr__(self) -> str:
        """The server alone."""
        return f"Connection({self.server})"

    def get(
        self,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout | None = None,
        *,
        accept: str = "application/json",
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """GET; the answer's body is read by whoever asks. ``timeout`` in place of the one of the session."""
        options = dict(self.options) if timeout is None else {**self.options, "timeout": timeout}
        headers = {**self.headers, "Accept": accept}
        return self.session.get(self.server + path, params=query, headers=headers, **options)

    def post(self, path: str, body: bytes) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """POST of a JSON object."""
        headers = {**self.headers, "Content-Type": "application/json"}
        return self.session.post(self.server + path, data=body, headers=headers, **self.options)


class Access(Protocol):
    """How connections are had."""

    def connect(self, timing: Timing) -> contextlib.AbstractAsyncContextManager[Connection]:
        """A new connection. Raises :class:`Trouble` if there is no usable configuration."""
        ...

    def refused(self) -> None:
        """The API server did not take our credentials (401): read them again."""
        ...


class ClusterAccess:
    """By kubeconfig, or as a pod."""

    def __init__(
        self,
        *,
        kubeconfig: Path | None = None,
        service_account: Path = SERVICE_ACCOUNT,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``kubeconfig`` None: as a pod if the environment says that this is one, else the user's kubeconfig.

        ``environ`` stands in for the environment of a pod.
        """
        self._kubeconfig = kubeconfig
        self._service_account = service_account
        self._environ = environ
        self._clock = clock
        self._configuration: Configuration | None = None
        self._context: ssl.SSLContext | None = None
        self._read_at = 0.0

    @contextlib.asynccontextmanager
    async def connect(self, timing: Timing) -> AsyncIterator[Connection]:
        """See :class:`Access`."""
        configuration = await self._fresh()
        timeout = aiohttp.ClientTimeout(total=None, connect=timing.connect, sock_read=timing.answer)
        connector = aiohttp.TCPConnector(ssl=self._context or True, socket_factory=_socket, limit=0)
        # Whatever was read ahead is held in memory, so a line of a watch decides how much that is, not this number.
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, read_bufsize=1 << 20, auto_decompress=True
        ) as session:
            options: dict[str, Any] = {}
            if configuration.tls_server_name:
                options["server_hostname"] = configuration.tls_server_name
            if configuration.proxy:
                options["proxy"] = configuration.proxy
            yield Connection(session, configuration.host.rstrip("/"), await _headers(configuration), options)

    def refused(self) -> None:
        """See :class:`Access`."""
        self._configuration = None

    async def _fresh(self) -> Configuration:
        if self._configuration is not None and self._clock() - self._read_at < _FRESH:
            return self._configuration
        # Here and not above: a standalone load balancer does not carry the package.
        from kubernetes.aio import config
        from kubernetes.aio.client import Configuration

        found = Configuration()
        try:
            if self._kubeconfig is None and self._in_pod():
                self._load_pod(found)
            else:
                await config.load_kube_config(
                    config_file=None if self._kubeconfig is None else str(self._kubeconfig), client_configuration=found
                )
            self._context = _tls(found)
        except (config.ConfigException, yaml.YAMLError, OSError, *_WRONG_FILE) as error:
            # The loaders raise whatever a wrong file leads them to.
            raise Trouble(f"no usable credentials: {error or type(error).__name__}") from error
        self._configuration = found
        self._read_at = self._clock()
        return found

    def _in_pod(self) -> bool:
        from kubernetes.aio.config import incluster_config

        environ = incluster_config.os.environ if self._environ is None else self._environ
        return bool(environ.get(incluster_config.SERVICE_HOST_ENV_NAME))

    def _load_pod(self, configuration: Configuration) -> None:
        from kubernetes.aio.config import incluster_config

        incluster_config.InClusterConfigLoader(
            token_filename=str(self._service_account / "token"),
            cert_filename=str(self._service_account / "ca.crt"),
            # We read everything again ourselves, the certificate authority as well.
            try_refresh_token=False,
            **({} if self._environ is None else {"environ": self._environ}),
        ).load_and_set(configuration)


async def _headers(configuration: Configuration) -> dict[str, str]:
    headers = {"Accept": "application/json", "User-Agent": f"lockstep/{version('lockstep-bgp')}"}
    for setting in (await configuration.auth_settings()).values():
        if setting["in"] == "header" and setting["value"]:
            headers[setting["key"]] = setting["value"].strip()
    return headers


def _tls(configuration: Configuration) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https:"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert or None)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _socket(address: AddrInfoType) -> socket.socket:
    """A socket that notices when the other end has vanished without a word."""
    made = socket.socket(address[0], address[1], address[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
