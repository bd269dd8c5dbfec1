"""How much is tried: little for every commit, more in the long form (`make test-long`)."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

BUSY = [HealthCheck.too_slow]
"""What Hypothesis finds unhealthy on a machine that has other work: no time is a fault here."""

settings.register_profile(
    "commit", deadline=None, suppress_health_check=BUSY, max_examples=60, derandomize=True
)
settings.register_profile(
    "long",
    deadline=None,
    suppress_health_check=BUSY,
    max_examples=600,
    derandomize="CI" in os.environ,  # a judge has to find the same twice; a person may be lucky
    print_blob=True,
)
settings.load_profile("commit")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what it puts into the background with Ctrl-C ignored, and children inherit it:
    # the programs that the tests interrupt would never hear of it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
