"""ExaBGP's helper process: carries bytes between ExaBGP's pipes and a Unix socket of the speaker, and nothing else.

ExaBGP must be the parent of what speaks its API, writes to it with blocking writes, and stops sending KEEPALIVEs
while such a write waits. So the helper always reads: one thread for each direction, no logic that could wait for
anything else. It ends when either side does, or it would be orphaned. Only the standard library is imported, so that
it starts quickly.

Usage: ``relay.py SOCKET``
"""

import os
import socket
import sys
import threading

CHUNK_BYTES = 65536


def carry_answers(speaker: socket.socket) -> None:
    """Copy what ExaBGP writes (our standard input) to the speaker until one of them ends."""
    try:
        while data := os.read(0, CHUNK_BYTES):
            speaker.sendall(data)
    except OSError:
        pass
    os._exit(0)


def main() -> None:
    """Connect, then copy the speaker's commands to ExaBGP (our standard output) until one of them ends."""
    speaker = socket.socket(socket.AF_UNIX)
    speaker.connect(sys.argv[1])
    threading.Thread(target=carry_answers, args=(speaker,), daemon=True).start()
    try:
        while data := speaker.recv(CHUNK_BYTES):
            while data:
                data = data[os.write(1, data) :]
    except OSError:
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
