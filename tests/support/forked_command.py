"""`claude-batch` on the path of a shell: the program, forked (see `forking.py`).

Signals that can be caught are passed to the program, and this process ends as the program does.
It has to start quickly, and imports nothing of ours.
"""

import json
import os
import signal
import socket
import sys


def main() -> None:
    """Have the program started with this process's arguments and descriptors; end as it does."""
    address, *arguments = sys.argv[1:]
    folder = os.getcwd()  # noqa: PTH109  # pathlib takes as long to import as all the rest
    order = {"arguments": arguments, "folder": folder, "environment": {**os.environ}}
    raw = json.dumps(order).encode()
    answers = socket.socket(socket.AF_UNIX)
    answers.connect(address)
    socket.send_fds(answers, [len(raw).to_bytes(4, signed=True)], [0, 1, 2])
    answers.sendall(raw)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # whoever reads from the program waits for nobody else
        os.dup2(null, descriptor)
    program = number(answers)
    for caught in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(caught, lambda caught, _frame: os.kill(program, caught))
    code = number(answers)
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def number(answers: socket.socket) -> int:
    """Return the next number."""
    return int.from_bytes(answers.recv(4, socket.MSG_WAITALL), signed=True)


if __name__ == "__main__":
    main()
