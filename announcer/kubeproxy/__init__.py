"""The forwarding hand where kube-proxy forwards: no program of ours, and kube-proxy's word in the place of a proof.

For clusters that keep kube-proxy (``lockstep run --no-datapath``). Nothing can be read back here: not the rules that
kube-proxy wrote, and not when. What can be had is whether it says that it is keeping up, and for Services with
``externalTrafficPolicy: Local`` whether it knows of endpoints on this node. So ``announced ⊆ served`` is as good as
that word; docs/announce-only.md says what it is worth.
"""

from announcer.kubeproxy.hand import KubeProxyHand
from announcer.kubeproxy.health import Health, Probe

__all__ = ["Health", "KubeProxyHand", "Probe"]
