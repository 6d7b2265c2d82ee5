"""Kubernetes manifests, already parsed into plain values, decoded into the objects of the model.

The Kubernetes API grows fields all the time, so fields that we do not use are ignored, and so are kinds that we do not
read. Those that we use are checked: what the API server would refuse, a manifest in a folder may hold, and a port that
is text must not surface as a traceback three layers down.
"""

from announcer.manifests.decode import Decoded, decode
from announcer.manifests.fields import Origin

__all__ = ["Decoded", "Origin", "decode"]
