"""Holds FRR's ``bfdd`` as its child and ends it when the speaker ends, however that ends.

``bfdd`` changes its user, and with that the kernel forgets the signal that it should get at the death of its parent
(prctl(2), PR_SET_PDEATHSIG). So this process stays in between: its standard input is a pipe that the speaker holds, and
at the end of that pipe it ends ``bfdd`` and itself. Only the standard library is imported.

Usage: ``bfd_child.py FOLDER PROGRAM ARGUMENT…``; FOLDER is removed at the end.
"""

import os
import shutil
import subprocess
import sys
import threading

_PATIENCE_SECONDS = 2.0


def main() -> None:
    """Run the program until it ends or standard input does; end with its return code."""
    child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL)

    def end_with_input() -> None:
        while os.read(0, 4096):
            pass
        child.terminate()
        try:
            child.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()

    threading.Thread(target=end_with_input, daemon=True).start()
    code = child.wait()
    shutil.rmtree(sys.argv[1], ignore_errors=True)
    sys.exit(code & 0x7F)


if __name__ == "__main__":
    main()
