"""YAML that knows its places: every node has a line and a column, nothing is guessed, nothing is unbounded.

PyYAML's loaders turn text into Python values at once. That loses the line of a value, takes ``no`` for False and
``65000:10`` for 3900010, lets a duplicate key win silently, follows alias bombs, and recurses as deep as the text says.
Here the *events* of PyYAML (its libyaml parser) become a small tree of frozen nodes within fixed limits, and what is
wrong becomes a list of :class:`ConfigProblem`. JSON is a subset of YAML and may go the same way; a text that is nothing
but JSON has a shorter one.

::

    bytes ── decode_text ──> str ── read_documents ──> nodes ──> the bgp-config dialect (own walker)
       │                                                     └─> plain values (Kubernetes manifests)
       └───── read_json, if it is nothing but JSON ──────────────────^
"""

from announcer.yamltree.as_json import PlainDocument, read_json
from announcer.yamltree.nodes import (
    Document,
    Node,
    PathPart,
    YamlList,
    YamlMap,
    YamlText,
    block_indent,
    find,
    is_null,
    kind_name,
    locate,
    path_text,
    plain_value,
)
from announcer.yamltree.read import Limits, Reading, read_documents
from announcer.yamltree.text import decode_text, shown

__all__ = [
    "Document",
    "Limits",
    "Node",
    "PathPart",
    "PlainDocument",
    "Reading",
    "YamlList",
    "YamlMap",
    "YamlText",
    "block_indent",
    "decode_text",
    "find",
    "is_null",
    "kind_name",
    "locate",
    "path_text",
    "plain_value",
    "read_documents",
    "read_json",
    "shown",
]
