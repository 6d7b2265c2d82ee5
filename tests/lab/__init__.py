"""The network laboratory; see :mod:`tests.lab.lab`."""

from tests.lab.fib_poll import FibPoll, FibSeen
from tests.lab.host import Host
from tests.lab.journal import RouteChange, RouteJournal
from tests.lab.lab import Lab, Node, Pod
from tests.lab.plan import SessionOptions
from tests.lab.poll import LabError, until
from tests.lab.router import RibPath, Router
from tests.lab.traffic import SteadyTraffic, Traffic, send

__all__ = [
    "FibPoll",
    "FibSeen",
    "Host",
    "Lab",
    "LabError",
    "Node",
    "Pod",
    "RibPath",
    "RouteChange",
    "RouteJournal",
    "Router",
    "SessionOptions",
    "SteadyTraffic",
    "Traffic",
    "send",
    "until",
]
