"""The Kubernetes source: the objects of an API server, followed live.

::

    API server ── list, watch ── Reflector ── Mirror ──┐
    (ConfigMap, its Secrets, this Node, other Nodes,   ├── KubeSource ── Replace, then Changes
     Services, EndpointSlices: one Reflector each) ────┘

- ``access``: where the API server is, and how this process proves who it is;
- ``wire``: the bytes of a watch or a list, and the objects in them, as JSON or protobuf;
- ``mirror``: what one resource looks like now, whatever order the news come in; knows neither time nor network;
- ``list_watch``: what is said over one connection;
- ``reflector``: keeps one mirror up to date over one connection after the other; ``standing``: whether that goes well;
- ``patience``: how long to wait for what; ``pace``: when to look again;
- ``source``: all of them together, as one sequence of events.

While the API server is away the last state stays in force: nothing is removed because nobody answers.
"""

from announcer.sources.kube.access import Access, ClusterAccess
from announcer.sources.kube.patience import Timing
from announcer.sources.kube.source import KubeSource

__all__ = ["Access", "ClusterAccess", "KubeSource", "Timing"]
