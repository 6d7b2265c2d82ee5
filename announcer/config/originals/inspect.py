"""``inspect``: all remarks about a file, at their lines in it."""

from __future__ import annotations

import msgspec

from announcer.config.extract import extract
from announcer.config.originals.dialects import Dialect, unknown_key
from announcer.config.originals.notes import Here, Notes, Remark
from announcer.config.originals.peers import inspect_peers
from announcer.config.originals.pools import inspect_pools
from announcer.config.parse import MAX_BYTES, read_yaml
from announcer.model.errors import ConfigProblem
from announcer.yamltree import decode_text


def inspect(data: str | bytes, dialect: Dialect) -> tuple[Remark, ...]:
    """What this original would have refused, misread or done differently, in the order of lines.

    Never raises for what the file says; a file that is no YAML has no remarks. Quotes no secret: of the values of peers
    none is quoted.
    """
    found = extract(data)
    reading = found.reading
    if reading is None:
        text = decode_text(found.text, file="", limit=MAX_BYTES) if found.text is not None else None
        if text is None or isinstance(text, ConfigProblem):
            return ()
        reading = read_yaml(text, "")
    documents = reading.documents
    if not documents:
        return ()
    notes = Notes()
    _inspect_file(Here(documents[0].root), dialect, notes)
    # Where the lines of the value are not lines of the file, its first line stands for all.
    moved = (
        msgspec.structs.replace(one, line=one.line + found.line_offset if found.exact else found.line_offset + 1)
        for one in notes.found
    )
    return tuple(sorted(set(moved)))


def _inspect_file(root: Here, dialect: Dialect, notes: Notes) -> None:
    for key in root.each_key():
        notes.add(key, unknown_key(dialect, "", key.text()))
    bfd = root.get("bfd-profiles")
    if bfd is not None and dialect.minor >= 12:
        notes.add(bfd, f"{dialect} took it in FRR mode only; its native mode refused the file")
    inspect_peers(root, dialect, notes)
    inspect_pools(root, dialect, notes)
    if root.get("pod-cidrs") is None and next(root.items("peers"), None) is not None:
        notes.add(root.without("pod-cidrs"), _pod_cidrs(dialect))


def _pod_cidrs(dialect: Dialect) -> str:
    ours = 'Lockstep does unless the file says "pod-cidrs: {announce: false}"'
    if dialect is Dialect.CILIUM_1_11:
        return f"{dialect} announced the Pod CIDRs of a node only with bgp-announce-pod-cidr; {ours}"
    return f"{dialect} never announced the Pod CIDRs of a node; {ours}"
