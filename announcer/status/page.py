"""``/``: the status as a page for people. Plain HTML, no script, nothing fetched from anywhere."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

from announcer.status import report
from announcer.status.pieces import Work, each
from announcer.status.sight import Sight

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1a1a1a; }
table { border-collapse: collapse; width: 100%; margin-bottom: 2rem; }
th, td { text-align: left; padding: .35rem .8rem .35rem 0; border-bottom: 1px solid #ddd; vertical-align: top; }
.good { color: #0a6b2d; } .bad { color: #a8071a; font-weight: 600; } code { font-size: .95em; }
@media (prefers-color-scheme: dark) { body { background: #16181c; color: #e6e6e6; } th, td { border-color: #333; }
.good { color: #5fd38a; } .bad { color: #ff7875; } }
"""


def render(sight: Sight) -> Work[str]:
    """The whole page."""
    seen = yield from report.status_bit_by_bit(sight)
    vips = yield from each(seen["vips"], lambda vip: _row(_vip(vip)))
    violated = seen["consistency"]["violations"]
    promise = (
        _mark("announced, served and allocated agree", True)
        if not violated
        else _mark(f"{violated} routes are announced with nothing proven behind them", False)
    )
    state, synced = seen["config"]["state"], seen["sources"]["synced"]
    sources = _mark("synced" if synced else "not synced", synced)
    parts = [
        f"<h1>Lockstep on {escape(seen['node'])}</h1>",
        f"<p>{promise} · bgp-config {_mark(state, state == 'applied')} · sources {sources}</p>",
        _problems(seen),
        _table("VIPs", ("VIP", "state", "why", "services", "serving", "peers"), vips),
        _table("Peers", ("peer", "ASN", "state", "since", "routes sent", "last error"), _rows(_peer, seen["peers"])),
        _table("Pod CIDRs", ("prefix", "state", "why"), _rows(_pod_cidr, seen["pod_cidrs"])),
        _table("Devices", ("device", "hook", "attached"), _rows(_device, seen["datapath"]["devices"])),
    ]
    title = f"Lockstep · {escape(seen['node'])}"
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{title}</title>"
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>"
    )


def _mark(text: str, good: bool) -> str:
    return f"<span class={'good' if good else 'bad'}>{escape(text)}</span>"


def _problems(seen: dict[str, Any]) -> str:
    errors = [f"{e['file']}:{e['line']} {e['path']}: {e['problem']}" for e in seen["config"]["errors"]]
    found = errors + seen["sources"]["problems"]
    if seen["datapath"]["problem"]:
        found.append(seen["datapath"]["problem"])
    forwarder = seen["datapath"]["forwarder"]
    if forwarder is not None and forwarder["problem"]:
        found.append(f"{forwarder['name']}: {forwarder['problem']}")
    return "".join(f"<p class=bad><code>{escape(text)}</code></p>" for text in found)


def _vip(vip: dict[str, Any]) -> tuple[str, ...]:
    why = ": ".join(part for part in (vip["reason"], vip["detail"]) if part)
    serving = f"{vip['backends']['serving']} of {vip['backends']['total']}"
    state = _mark(vip["state"], vip["state"] == "Announced")
    return (f"<code>{vip['vip']}</code>", state, escape(why), escape(", ".join(vip["services"])), serving,
            escape(", ".join(vip["peers"])))  # fmt: skip


def _peer(peer: dict[str, Any]) -> tuple[str, ...]:
    routes = f"{peer['routes']['sent']} of {peer['routes']['desired']}"
    state = _mark(peer["state"], peer["state"] == "Established")
    return (f"<code>{escape(peer['name'])}</code>", str(peer["asn"]), state, escape(peer["since"] or ""), routes,
            escape(peer["last_error"] or ""))  # fmt: skip


def _pod_cidr(pod: dict[str, Any]) -> tuple[str, ...]:
    why = ": ".join(part for part in (pod["reason"], pod["detail"]) if part)
    return f"<code>{pod['prefix']}</code>", _mark(pod["state"], pod["state"] == "Announced"), escape(why)


def _device(device: dict[str, Any]) -> tuple[str, ...]:
    text = "yes" if device["attached"] else device["problem"] or "no"
    return f"<code>{escape(device['name'])}</code>", escape(device["hook"] or ""), _mark(text, device["attached"])


def _rows(make: Callable[[Any], tuple[str, ...]], items: list[Any]) -> list[str]:
    return [_row(make(item)) for item in items]


def _row(cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _table(title: str, heads: tuple[str, ...], rows: list[str]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(rows)
    if not body:
        body = f"<tr><td colspan={len(heads)}>none</td></tr>"
    return f"<h2>{escape(title)}</h2><table><tr>{head}</tr>{body}</table>"
