"""Starts claude-batch so that it ends with the process that wants it.

`launch.py PARENT ARGUMENT...`: PARENT is that process.

A script of its own: what it sets (before anything is sent) outlives the `exec`, and running Python
code between fork and exec in a process with threads may hang.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1

_INTERRUPTED = 130


def main() -> None:
    """Become claude-batch with the arguments given."""
    parent, arguments = int(sys.argv[1]), sys.argv[2:]
    # what comes while Python starts would be lost in an import; the program takes it afterwards
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGINT,))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        # as Ctrl-C does: nothing more is sent, and answers that are on their way are kept
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != parent:  # it died before that
        sys.exit(_INTERRUPTED)
    os.execv(sys.executable, [sys.executable, "-m", "claude_batch", *arguments])  # noqa: S606  # ours


if __name__ == "__main__":
    main()
