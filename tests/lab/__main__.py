"""Looks after labs that were kept: ``python -m tests.lab list`` and ``python -m tests.lab remove ID``."""

from __future__ import annotations

import sys

from tests.lab.registry import RUN_FOLDER, Registry


def main(argv: list[str]) -> int:
    """Return the exit code: 0 fine, 1 no such lab, 2 wrong use."""
    match argv:
        case ["list"]:
            for folder in sorted(RUN_FOLDER.glob("*")):
                print(folder.name)
            return 0
        case ["remove", lab_id]:
            try:
                registry = Registry(lab_id)
            except ValueError as error:
                print(error, file=sys.stderr)
                return 2
            if not registry.leftovers():
                print(f"there is no lab {lab_id}", file=sys.stderr)
                return 1
            registry.remove()
            return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
