"""A process that programs frontends until it is killed: ``python -m tests.datapath.child BPFFS [filter]``.

It says ``attached`` when that is done.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from announcer.model.steps import AttachDevices
from datapath.hand import Datapath
from tests.datapath.node import LOCAL, REMOTE, SMALL, done, frontend, program, remove

#: Every frontend that it may leave behind, by key: the states it goes through.
STATES = {
    frontend(port=80).key: (frontend(LOCAL, port=80), frontend(LOCAL, REMOTE, port=80), frontend(port=80)),
    frontend(port=81).key: (frontend(REMOTE, port=81), None, frontend(LOCAL, port=81)),
}


def main() -> None:
    datapath = Datapath(bpffs=Path(sys.argv[1]), limits=SMALL, tcx=False if sys.argv[2:] else None)
    datapath.open()
    done(datapath.apply(AttachDevices(lane="devices")))
    print("attached", flush=True)
    for turn in itertools.count():
        for key, states in STATES.items():
            state = states[turn % len(states)]
            done(program(datapath, state) if state else remove(datapath, key))


if __name__ == "__main__":
    main()
