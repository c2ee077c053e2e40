"""Child processes that end when their parent does, however it ends."""

import ctypes
import signal
import sys
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def death_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """What a child is to run first so that Linux sends it this signal when its parent dies.

    For `preexec_fn` of `subprocess.Popen`; None where the system offers no such thing.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up before the fork
    return lambda: prctl(PR_SET_PDEATHSIG, number)
