"""The rules with which kube-proxy would serve the same Services, as its iptables and nftables modes write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from announcer.model.net import IPAddress


def iptables(vips: Sequence[IPAddress], port: int, backends: Sequence[str]) -> str:
    """Input of ``iptables-restore``: one long chain of Services, one of each Service, one of each endpoint.

    See the chains KUBE-SERVICES, KUBE-SVC-… and KUBE-SEP-… of pkg/proxy/iptables in Kubernetes.
    """
    return "\n".join(["*nat", *_iptables(vips, port, backends), "COMMIT", ""])


def _iptables(vips: Sequence[IPAddress], port: int, backends: Sequence[str]) -> Iterator[str]:
    numbers, places = range(len(vips)), range(len(backends))
    yield ":KUBE-SERVICES - [0:0]"
    yield from (f":KUBE-SVC-{number} - [0:0]" for number in numbers)
    yield from (f":KUBE-SEP-{number}-{place} - [0:0]" for number in numbers for place in places)
    yield "-A PREROUTING -j KUBE-SERVICES"
    for number, vip in enumerate(vips):
        yield f"-A KUBE-SERVICES -d {vip}/32 -p tcp -m tcp --dport {port} -j KUBE-SVC-{number}"
        for place, backend in enumerate(backends):
            left = len(backends) - place
            chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
            yield f"-A KUBE-SVC-{number} {chance}-j KUBE-SEP-{number}-{place}"
            yield f"-A KUBE-SEP-{number}-{place} -p tcp -m tcp -j DNAT --to-destination {backend}"


def nftables(vips: Sequence[IPAddress], port: int, backends: Sequence[str]) -> str:
    """Input of ``nft -f``: a map from the address to the chain of the Service, and in that one to an endpoint.

    See the map service-ips and the chains service-… of pkg/proxy/nftables in Kubernetes.
    """
    chains, elements = [], []
    for number, vip in enumerate(vips):
        ends = [f"endpoint-{number}-{place}" for place in range(len(backends))]
        for end, backend in zip(ends, backends, strict=True):
            chains.append(f"  chain {end} {{ meta l4proto tcp dnat to {backend}; }}")
        choice = ", ".join(f"{place} : goto {end}" for place, end in enumerate(ends))
        chains.append(f"  chain service-{number} {{ numgen random mod {len(ends)} vmap {{ {choice} }}; }}")
        elements.append(f"{vip} . tcp . {port} : goto service-{number}")
    return "\n".join(
        [
            "table ip kube-proxy {",
            *chains,
            "  map service-ips {",
            "    type ipv4_addr . inet_proto . inet_service : verdict",
            f"    elements = {{ {', '.join(elements)} }}",
            "  }",
            "  chain nat-prerouting {",
            "    type nat hook prerouting priority dstnat; policy accept;",
            "    ip daddr . meta l4proto . th dport vmap @service-ips",
            "  }",
            "}",
            "",
        ]
    )
