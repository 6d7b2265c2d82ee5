"""core/v1 ConfigMap and Secret."""

from __future__ import annotations

import base64
import binascii

from announcer.manifests.fields import Field
from announcer.model.objects import ConfigMap, ObjectKey, Secret


def config_map(field: Field, key: ObjectKey) -> ConfigMap:
    """The ConfigMap in ``field``. ``binaryData`` is not read: nothing that we look for is binary."""
    entries = list(field.get("data").entries())
    return ConfigMap(
        key=key,
        data={name: value.text() for name, value in entries},
        file=field.origin.file,
        lines={name: field.origin.block(value.path) for name, value in entries},
    )


def secret(field: Field, key: ObjectKey) -> Secret:
    """The Secret in ``field``, decoded. ``stringData`` wins over ``data``, as the API server has it."""
    data = {name: _decoded(value) for name, value in field.get("data").entries()}
    data |= {name: value.text().encode() for name, value in field.get("stringData").entries()}
    return Secret(key=key, data=data)


def _decoded(field: Field) -> bytes:
    # Line breaks inside are allowed, as in Go's decoder; anything else that is not base64 is not.
    word = "".join(field.text().splitlines())
    try:
        return base64.b64decode(word.encode(), validate=True)
    except (binascii.Error, ValueError):
        field.wrong("is not base64", "encode it, or put the text under stringData")
        return b""
