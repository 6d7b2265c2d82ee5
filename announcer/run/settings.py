"""What ``lockstep run`` was told."""

from __future__ import annotations

from pathlib import Path

import msgspec

from announcer.inputs import CONFIG_MAP_NAME
from announcer.model.lb import DEFAULT_SNAT_PORTS, LbMode, PortRange
from announcer.model.objects import ObjectKey
from announcer.plan import PlanSettings
from announcer.record.recorder import DEFAULT_BYTES
from announcer.snapshot import DEFAULT_NAMESPACE
from datapath.limits import Limits

#: Where the agent keeps its sockets, locks and the last good configuration.
DEFAULT_STATE_DIR = Path("/run/lockstep")
#: Where programs, maps and links are pinned.
DEFAULT_BPFFS = Path("/sys/fs/bpf/lockstep")
#: Where kube-proxy answers about its health, by default.
DEFAULT_KUBE_PROXY_HEALTH = "http://127.0.0.1:10256/healthz"
#: Where the status endpoint listens besides its Unix socket.
DEFAULT_STATUS_LISTEN = "127.0.0.1:9797"


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One agent.

    ``source`` None: the API server of a cluster, found by ``kubeconfig`` or, if that is None, as a pod; ``config_map``
    names the ConfigMap there. ``config_file`` None: the ConfigMap ``bgp-config`` of the source. ``devices`` None:
    found by route. ``limits``: how large the maps are. ``lb_mode``: how backends on other nodes get their packets,
    ``snat_ports``: from which ports of this node where that is SNAT.
    ``status_listen``, ``metrics_listen``: ``unix:PATH`` or ``ADDRESS:PORT``; the second answers what anybody may know.
    ``kube_proxy_health``: kube-proxy forwards, and says there how it is; None: our own programs do.
    ``metrics_aliases``: metrics also under the names of MetalLB's speaker.
    ``icmp_echo``: served VIPs answer echo requests.
    ``spawn_speaker``: start a speaker if none answers. ``health_check_node_ports``: answer on the
    ``healthCheckNodePort`` of Services. ``drain_on_exit``: how many seconds SIGTERM may take to drain the node first;
    None: it ends the agent alone. ``record``: where to record everything that is seen and decided, in two files of
    ``record_bytes`` together.
    """

    node_name: str
    source: Path | None
    kubeconfig: Path | None = None
    config_map: ObjectKey = ObjectKey(DEFAULT_NAMESPACE, CONFIG_MAP_NAME)
    config_file: Path | None = None
    state_dir: Path = DEFAULT_STATE_DIR
    bpffs: Path = DEFAULT_BPFFS
    devices: tuple[str, ...] | None = None
    limits: Limits = Limits()
    lb_mode: LbMode = LbMode.DSR
    snat_ports: PortRange = DEFAULT_SNAT_PORTS
    status_listen: tuple[str, ...] = ()
    metrics_listen: tuple[str, ...] = ()
    kube_proxy_health: str | None = None
    metrics_aliases: bool = False
    icmp_echo: bool = True
    spawn_speaker: bool = True
    health_check_node_ports: bool = True
    drain_on_exit: float | None = None
    record: Path | None = None
    record_bytes: int = DEFAULT_BYTES
    plan: PlanSettings = PlanSettings()

    @property
    def status_socket(self) -> Path:
        """Where ``lockstep status`` finds this agent."""
        return self.state_dir / "status.sock"

    @property
    def speaker_socket(self) -> Path:
        """Where the speaker of this node answers."""
        return self.state_dir / "speaker.sock"
