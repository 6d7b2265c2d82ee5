"""Puts what GoBGP holds into the kernel of its host, as a routing daemon would, so that packets follow its routes.

GoBGP leaves that to FRR's zebra, whose messages make GoBGP 3.10 panic (see ``tests.lab.gobgp``). Run as a program
inside the host's namespace: it looks whenever GoBGP tells of a change, and every fifth of a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.lab.gobgp import GobgpRouter, parse_rib
from tests.lab.router import Router

_ROOT = Path(__file__).resolve().parents[2]
_LOOK_SECONDS = 0.2
_FAMILIES = ("ipv4", "ipv6")


@contextmanager
def in_the_kernel(router: Router) -> Iterator[None]:
    """As long as the context lasts the kernel of a GoBGP router follows it. Nothing to do for the others."""
    if not isinstance(router, GobgpRouter):
        yield
        return
    process = router.popen([sys.executable, "-m", "tests.lab.gobgp_fib", router.api], cwd=_ROOT)
    try:
        yield
    finally:
        process.kill()
        process.wait()


class _Fib:
    def __init__(self, api: str) -> None:
        self._gobgp = ["gobgp", "--target", api, "-j"]
        self._installed: dict[str, tuple[str, ...]] = {}

    def follow(self) -> None:
        """For ever."""
        changed = threading.Event()
        for family in _FAMILIES:
            threading.Thread(target=self._listen, args=(family, changed), daemon=True).start()
        while True:
            self._install(self._held())
            changed.wait(_LOOK_SECONDS)
            changed.clear()

    def _listen(self, family: str, changed: threading.Event) -> None:
        monitor = subprocess.Popen([*self._gobgp, "monitor", "global", "rib", "-a", family], stdout=subprocess.PIPE)
        for _ in monitor.stdout or ():
            changed.set()

    def _held(self) -> dict[str, tuple[str, ...]]:
        held: dict[str, tuple[str, ...]] = {}
        for family in _FAMILIES:
            done = subprocess.run([*self._gobgp, "global", "rib", "-a", family], capture_output=True, check=True)
            rib = parse_rib(json.loads(done.stdout or "{}"))
            held |= {prefix: tuple(sorted({path.next_hop for path in paths})) for prefix, paths in rib.items() if paths}
        return held

    def _install(self, held: Mapping[str, tuple[str, ...]]) -> None:
        lines = [f"route del {prefix}" for prefix in self._installed.keys() - held.keys()]
        for prefix, hops in held.items():
            if self._installed.get(prefix) != hops:
                lines.append(f"route replace {prefix} " + " ".join(f"nexthop via {hop}" for hop in hops))
        if lines:
            subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
        self._installed = dict(held)


if __name__ == "__main__":
    _Fib(sys.argv[1]).follow()
