"""What a whole agent with its speaker needs when nothing happens: processor time and memory, with 10,000 Services."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from tests.bench.report import Row, figure
from tests.lab import Lab, until
from tests.lab.agents import NodeAgent

#: The ranges of tables.py.
VIP, PODS = IPv4Address("198.18.0.0"), IPv4Address("10.64.0.0")

SERVICES, BACKENDS = 10_000, 100_000
#: So many Services stand in one file.
_PER_FILE = 100
#: For how long to let what the start has begun come to its end (a thousand shortcuts are filled a look), and for how
#: long to watch then, in seconds. Looks are a second apart.
SETTLE, WATCH = 20.0, 30.0
IDLE_TARGET, MEMORY_TARGET = 1.0, 300.0
#: In the number of a clock of another process: as the scheduler counts (include/linux/posix-timers_types.h).
_CPUCLOCK_SCHED = 2


def bench(
    folder: Path,
    *,
    services: int = SERVICES,
    backends: int = BACKENDS,
    settle: float = SETTLE,
    watch: float = WATCH,
) -> list[Row]:
    """Rows of all figures. Needs root."""
    name = f"agent/{services}-services-{backends}-backends"
    with Lab(nodes=1, pods=1) as lab:
        agent = NodeAgent(lab.nodes[0], _manifests(folder / "agent", services, backends, lab))
        began = time.monotonic()
        agent.start()
        # The Pod CIDR is one more.
        until(lambda: sum(route.startswith("198.") for route in lab.router.fib()) >= services, "all routes", 600)
        started = time.monotonic() - began
        pids = _processes(agent)
        time.sleep(settle)  # no condition is waited for: what is measured is a time
        before = {who: _spent(pid) for who, pid in pids.items()}
        time.sleep(watch)
        idle = {who: 100 * (_spent(pid) - before[who]) / watch for who, pid in pids.items()}
        used = {who: _resident(pid) for who, pid in pids.items()}
    return [
        figure(f"{name}/start-to-all-routes", [started], "s"),
        figure(f"{name}/idle", [sum(idle.values())], "% of a core", at_most=IDLE_TARGET, digits=2),
        *(figure(f"{name}/idle/{who}", [share], "% of a core", digits=2) for who, share in idle.items()),
        figure(f"{name}/memory", [used["agent"] + used["speaker"]], "MB", at_most=MEMORY_TARGET),
        *(figure(f"{name}/memory/{who}", [megabytes], "MB") for who, megabytes in used.items()),
    ]


def _manifests(folder: Path, services: int, backends: int, lab: Lab) -> Path:
    """A folder for ``lockstep run``. JSON is YAML too, and quicker to write."""
    folder.mkdir()
    plan, node = lab.plan, lab.nodes[0]
    config = {
        "peers": [{"peer-address": str(plan.router_address), "peer-asn": plan.router_asn, "my-asn": plan.node_asn}],
        "address-pools": [{"name": "bench", "protocol": "bgp", "addresses": ["198.18.0.0/15"]}],
    }
    own: list[dict[str, Any]] = [
        _object("v1", "ConfigMap", "bgp-config", "kube-system", data={"config.yaml": json.dumps(config)}),
        _object(
            "v1",
            "Node",
            node.name,
            spec={"podCIDR": node.pod_cidr, "podCIDRs": [node.pod_cidr]},
            status={"addresses": [{"type": "InternalIP", "address": node.address}]},
        ),
    ]
    _write(folder / "own.yaml", own)
    for first in range(0, services, _PER_FILE):
        numbers = range(first, min(services, first + _PER_FILE))
        _write(
            folder / f"{first:06}.yaml",
            [each for number in numbers for each in _service(number, backends // services)],
        )
    return folder


def _service(number: int, backends: int) -> Iterator[dict[str, Any]]:
    vip, name = str(VIP + number), f"bench-{number}"
    port = {"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}
    yield _object(
        "v1",
        "Service",
        name,
        "default",
        spec={"type": "LoadBalancer", "ports": [port]},
        status={"loadBalancer": {"ingress": [{"ip": vip}]}},
    )
    ready = {"ready": True, "serving": True, "terminating": False}
    pods = [PODS + number * backends + at for at in range(backends)]
    yield _object(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        f"{name}-1",
        "default",
        labels={"kubernetes.io/service-name": name},
        addressType="IPv4",
        ports=[{"name": "http", "protocol": "TCP", "port": 8080}],
        endpoints=[{"addresses": [str(pod)], "nodeName": "elsewhere", "conditions": ready} for pod in pods],
    )


def _object(
    version: str, kind: str, name: str, namespace: str = "", labels: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels or {}, **place}, **more}


def _write(path: Path, objects: list[dict[str, Any]]) -> None:
    path.write_text("\n---\n".join(map(json.dumps, objects)))


def _processes(agent: NodeAgent) -> dict[str, int]:
    """The agent, its speaker and the engine, by process id."""
    found = {"agent": agent.pid}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            argv = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has just ended
        if not any(part.startswith(bytes(agent.state_dir)) for part in argv):
            continue
        for who, module in (("speaker", b"bgpd"), ("exabgp", b"bgpd.child")):
            if argv[1:3] == [b"-m", module]:
                found[who] = int(path.parent.name)
    assert found.keys() == {"agent", "speaker", "exabgp"}, found
    return found


def _spent(pid: int) -> float:
    """Seconds of processor time of the whole process (clock_getcpuclockid(3)); ticks would be too coarse."""
    return time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED)


def _resident(pid: int) -> float:
    """Megabytes, maps of the kernel that are also memory of the agent included."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return int(kilobytes) / 1024
