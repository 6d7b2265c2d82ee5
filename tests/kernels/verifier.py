"""What the verifier of this kernel made of each program: ``python -m tests.kernels.verifier``.

It goes through an instruction once for every state that may meet it, up to a million times in all, and how many these
are differs from kernel to kernel.
"""

from __future__ import annotations

import os

from datapath import shim
from datapath.limits import Limits
from datapath.loader import OBJECT
from datapath.settle import EGRESS, INGRESS

_ALLOWED = 1_000_000  # BPF_COMPLEXITY_LIMIT_INSNS


def main() -> None:
    """Load the programs, attach and pin nothing, print one line for each."""
    handle = shim.open_object(OBJECT)
    try:
        for name, max_entries in Limits(flows=4096, flows_new=4096, replies=4096).max_entries().items():
            shim.map_spec(handle, name, max_entries)
        shim.load(handle)
        for name in (INGRESS, EGRESS):
            verified = shim.prog_info(shim.prog_fd(handle, name)).verified
            print(f"{name} on {os.uname().release}: {verified:,} of {_ALLOWED:,} instructions verified")
    finally:
        shim.close_object(handle)


if __name__ == "__main__":
    main()
