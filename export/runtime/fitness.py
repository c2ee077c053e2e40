"""Whether a plan was built for the library and the GPU that are here: by what the manifest says."""

import re

ARCH = re.compile(r"sm(\d+)$")


def unfit_library(built: str, here: str) -> str | None:
    """Why a plan of one library version cannot be run by another; None if it can.

    Args:
        built: name and version, e.g. "tensorrt_rtx 1.7.1.116"; what made it use that library may
            follow in brackets.
        here: the same of what is installed.
    """
    return None if built.split(" (")[0] == here else f"it was built by {built}; here is {here}"


def unfit_architecture(built: str | None, here: str, *, portable: bool) -> str | None:
    """Why a plan for one GPU architecture cannot be run by another; None if it may be.

    Args:
        built: e.g. "sm80"; None of a plan that names none.
        here: the device's.
        portable: whether plans of this library may run on later architectures than their own. May:
            its own probe has the last word.
    """
    if built is None or built == here:
        return None
    if portable and architecture_number(built) <= architecture_number(here):
        return None
    return f"it was built for {built}; this GPU is {here}"


def architecture_number(arch: str | None) -> int:
    """As in 90 for "sm90"; 0 where there is none."""
    match = ARCH.match(arch or "")
    return int(match[1]) if match else 0
