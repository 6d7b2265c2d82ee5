"""Another release of Lockstep: this one's tree with places changed and its BPF programs built anew.

A node that is given it (``NodeAgent.release``) runs it from its next start on, as after an upgrade: other files,
another process, the same state folder and the same pins.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.lab.poll import LabError

_ROOT = Path(__file__).resolve().parents[2]
_PACKAGES = ("announcer", "bgpd", "datapath")


class Edit(NamedTuple):
    """In ``file``, relative to the root of the tree, ``before`` becomes ``after``, wherever it stands."""

    file: str
    before: str
    after: str


#: Both programs differ in their instructions, and every map is as it was.
OTHER_PROGRAMS = (Edit("datapath/bpf/lb_maps.h", "*packets += 1;", "__sync_fetch_and_add(packets, 1);"),)

DRAIN_SECONDS = 10.0
#: Entries outlive a withdrawal by so long, and not by two seconds: also who was not let run for some of them sees it.
LONG_DRAIN = (Edit("announcer/plan/settings.py", "drain: float = 2.0", f"drain: float = {DRAIN_SECONDS}"),)


def build_release(folder: Path, edits: Sequence[Edit]) -> Path:
    """Build it in ``folder``, which is made; returned is the root of the tree, for ``PYTHONPATH``.

    Raises ``LabError`` if an edit finds nothing to change or the programs do not compile.
    """
    for package in _PACKAGES:
        shutil.copytree(_ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", "build"))
    for edit in edits:
        path = folder / edit.file
        text = path.read_text()
        if edit.before not in text:
            raise LabError(f"{edit.file}: there is no {edit.before!r} to change")
        path.write_text(text.replace(edit.before, edit.after))
    done = subprocess.run(["make", "-s", "-C", folder / "datapath"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"make -C {folder / 'datapath'}: {done.stderr.strip()}")
    return folder
