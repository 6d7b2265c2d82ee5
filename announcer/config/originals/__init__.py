"""What the originals of the dialect would have made of a file: MetalLB 0.9 to 0.12, and Cilium 1.10 and 1.11.

Only for ``lockstep check --dialect``. Nothing here decides whether a file is valid. The file is looked at as YAML, not
as a configuration, so that remarks exist for files that Lockstep refuses, too.

::

    file ── extract ──> text ── nodes ──> peers ─┐
                                      ├─> pools ─┼──> remarks ──> report, beside the problem of the same place or alone
                                      └─> keys ──┘
"""

from announcer.config.originals.dialects import Dialect
from announcer.config.originals.inspect import inspect
from announcer.config.originals.notes import Remark

__all__ = ["Dialect", "Remark", "inspect"]
