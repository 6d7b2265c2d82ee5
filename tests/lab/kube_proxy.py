"""What kube-proxy says of itself, without kube-proxy: ``kube_proxy.py FOLDER PORT…``. Standard library only.

On every PORT it answers as the file ``FOLDER/PORT`` says: ``200``, ``503``, ``hang`` (takes the question and stays
silent), or ``200`` if there is no file. The answers are those of the real one (Kubernetes 1.34, pkg/proxy/healthcheck):
on port 10256 ``{"lastUpdated", "currentTime", "nodeEligible"}``, where a healthy one tells the present moment as
``lastUpdated`` and one whose node is to be deleted answers 503 with ``nodeEligible`` false; on the healthCheckNodePort
of a Service ``{"service", "localEndpoints", "serviceProxyHealthy"}``, 503 if it has no endpoints here.

It forwards nothing: what it is for is whether routes follow its word.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HEALTH_PORT = 10256
_SILENT_SECONDS = 5.0


class Handler(BaseHTTPRequestHandler):
    """One question."""

    folder: Path

    def do_GET(self) -> None:
        """Answer as the file says."""
        _, port, *_ = self.connection.getsockname()
        said = self.folder / str(port)
        state = said.read_text() if said.exists() else "200"
        if state == "hang":
            time.sleep(_SILENT_SECONDS)
            return
        good = state == "200"
        body = json.dumps(_proxy(good) if self.path == "/healthz" else _service(good)).encode()
        self.send_response(200 if good else 503)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _proxy(good: bool) -> dict[str, object]:
    now = time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC", time.gmtime())
    return {"lastUpdated": now, "currentTime": now, "nodeEligible": good}


def _service(good: bool) -> dict[str, object]:
    service = {"namespace": "default", "name": "web"}
    return {"service": service, "localEndpoints": int(good), "serviceProxyHealthy": True}


def serve(folder: Path, port: int, host: str = "127.0.0.1") -> ThreadingHTTPServer:
    """Answer on ``port`` (0: any free one) from a thread of its own, until ``shutdown()``."""
    handler = type("Handler", (Handler,), {"folder": folder})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return server


if __name__ == "__main__":
    for number in sys.argv[2:]:
        serve(Path(sys.argv[1]), int(number), "0.0.0.0")
    print("ready", flush=True)
    threading.Event().wait()
