"""What a network call costs in time, fairly: all networks take turns on one machine."""

import time
from collections.abc import Sequence
from statistics import median

import torch

from model.denoisers.build import blank_inputs, build_denoiser
from model.specs.networks import NetworkSpec

BATCH = 16  # rows of a call: 8 guided images
ROUNDS = 15
_T = 0.5


@torch.no_grad()
def call_ms(networks: Sequence[NetworkSpec]) -> list[float]:
    """Median milliseconds of a call of 16 rows by each network, freshly initialised.

    Networks take turns, so that what else the machine does hits all of them alike; equal ones are
    timed once.
    """
    device = torch.device("cpu")
    distinct = list(dict.fromkeys(spec.model_dump_json() for spec in networks))
    built, times = {}, {key: list[float]() for key in distinct}
    for spec in networks:
        key = spec.model_dump_json()
        if key not in built:
            inputs = blank_inputs(spec, BATCH, device, t=_T)
            built[key] = (build_denoiser(spec).eval(), inputs)
    for network, inputs in built.values():
        network(*inputs)  # the first call pays for what is set up once
    for _ in range(ROUNDS):
        for key, (network, inputs) in built.items():
            began = time.perf_counter()
            network(*inputs)
            times[key].append(1000 * (time.perf_counter() - began))
    return [median(times[spec.model_dump_json()]) for spec in networks]
