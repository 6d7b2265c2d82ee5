"""Can this device send a packet that an XDP program redirects to it?

Asked of the generic netlink family ``netdev`` (Documentation/netlink/specs/netdev.yaml, kernel 6.3 and later). A
redirect to a device that cannot is lost without a trace, so it must never count as proof; nor may one of which an older
kernel cannot tell.
"""

from __future__ import annotations

import errno
import struct
import sys

from announcer.model.errors import TargetError
from datapath.netlink import HEADER, REQUEST, Netlink, attribute, attributes

_NETLINK_GENERIC = 16  # linux/netlink.h
_GENL = struct.Struct("=BBH")
_CTRL, _CTRL_GETFAMILY, _CTRL_FAMILY_ID, _CTRL_FAMILY_NAME = 16, 3, 1, 2
_DEV_GET, _DEV_IFINDEX, _DEV_XDP_FEATURES = 1, 1, 3
_NDO_XMIT = 4
_FAMILY = b"netdev\0"


class Netdev:
    """One generic netlink socket."""

    def __init__(self) -> None:
        self._netlink = Netlink(_NETLINK_GENERIC)
        self._family = 0

    def close(self) -> None:
        """Close the socket."""
        self._netlink.close()

    def takes_redirects(self, ifindex: int) -> bool:
        """True if the driver has ``ndo_xdp_xmit`` and is ready for it. Raises ``TargetError``."""
        self._family = self._family or self._find_family()
        try:
            device = self._ask(self._family, _DEV_GET, attribute(_DEV_IFINDEX, struct.pack("=I", ifindex)))
        except TargetError as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return bool(int.from_bytes(device.get(_DEV_XDP_FEATURES, b""), sys.byteorder) & _NDO_XMIT)

    def _find_family(self) -> int:
        try:
            answer = self._ask(_CTRL, _CTRL_GETFAMILY, attribute(_CTRL_FAMILY_NAME, _FAMILY))
        except TargetError as error:
            if error.errno == errno.ENOENT:
                detail = "the kernel cannot tell which devices take packets from native XDP; Linux 6.3 and later can"
                raise TargetError("prove a redirect", detail=detail, retry=False) from error
            raise
        return int.from_bytes(answer.get(_CTRL_FAMILY_ID, b""), sys.byteorder)

    def _ask(self, kind: int, command: int, wanted: bytes) -> dict[int, bytes]:
        body = _GENL.pack(command, 1, 0) + wanted
        data = next(self._netlink.talk(kind, REQUEST, body, f"generic netlink command {command}"))
        return attributes(data, HEADER.size + _GENL.size)
