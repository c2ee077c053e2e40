"""Engine on PyTorch: the reference for every other one, and the one that serves on a CPU."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.runtime.trajectory import Trajectories
from model.bundle import Bundle
from model.diffusion.predictor import NoisePredictor
from model.sampling.samplers import SAMPLERS, table_for
from model.sampling.tables import SolverTable

GROUP = 8  # rows of one network call; beyond it a row costs a CPU the same (tests/benchmarks)
MAX_STEPS = 250
KEPT_TABLES = 1024


class EagerEngine:
    """Steps slots by calling the network in groups of rows whose results are bit-equal.

    Matrix kernels may round differently for different row counts, and an image must not depend on
    its neighbours. So the engine probes at start which row counts agree to the last bit, and calls
    the network with no others: any of 2..GROUP where they agree, otherwise always exactly GROUP.
    """

    def __init__(self, bundle: Bundle, *, capacity: int, device: torch.device) -> None:
        """Move network and codec to `device`, probe, and allocate `capacity` slots.

        Raises:
            BundleRefused: a latent model without its autoencoder.
        """
        manifest = bundle.manifest
        self._manifest = manifest
        self._labels = bundle.labels
        self._capacity = capacity
        self._device = device
        self._codec = bundle.codec.to(device)
        self._predictor = NoisePredictor(bundle.network, manifest.process).to(device)
        network = manifest.network
        self._shape = (network.channels, network.size, network.size)
        self._trajectories = Trajectories(
            capacity,
            self._shape,
            null_label=network.classes,
            threshold=self._codec.threshold,
            device=device,
        )
        self._tables: dict[tuple[int, str, float], SolverTable] = {}
        self._row_counts = self._agreeing_row_counts()
        self._row_seconds = self._measure()

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self._capacity

    @property
    def card(self) -> Mapping[str, object]:
        """The model card; see `service.cards.ModelCard`."""
        manifest = self._manifest
        return {
            "id": manifest.id,
            "kind": manifest.kind,
            "conditioning": list(manifest.conditioning),
            "sizes": list(manifest.sizes),
            "classes": [
                {"index": index, "name": label.name, "aliases": list(label.aliases)}
                for index, label in enumerate(self._labels)
            ],
            "samplers": list(SAMPLERS),
            "limits": {"min_steps": 1, "max_steps": MAX_STEPS},
            "defaults": {
                "steps": manifest.sampling.steps,
                "guidance": manifest.sampling.guidance,
                "sampler": manifest.sampling.sampler,
                "size": manifest.sizes[0],
            },
            "engine": {
                "backend": "pytorch",
                "precision": "float32",
                "device": str(self._device),
                "capacity": self._capacity,
                "row_counts": list(self._row_counts),
                "row_ms": round(self._row_seconds * 1e3, 3),
            },
            "description": manifest.description,
            "licence": manifest.licence,
            "created": manifest.created,
        }

    @property
    def rows_per_s(self) -> float:
        """Network rows per second in full groups, measured at start."""
        return 1 / self._row_seconds

    def plan(self, *, steps: int, sampler: str, guidance: float) -> Sequence[int]:
        """Network rows of each call: 2 with guidance, 1 where it is exactly 1.

        Raises:
            ValueError: no such sampler, or it cannot take this many steps.
        """
        return self._table(steps, sampler, guidance).rows_per_call.tolist()

    def admit(
        self, slot: int, *, label: int, seed: int, steps: int, sampler: str, guidance: float
    ) -> None:
        """Start a trajectory in a free slot from the noise of `seed`."""
        table = self._table(steps, sampler, guidance)
        self._trajectories.start(slot, table, label=label, seed=seed)

    @torch.inference_mode()
    def step(self, slots: Sequence[int]) -> Sequence[int]:
        """Advance these slots by one network call each; returns the finished ones."""
        return self._trajectories.step(slots, self._noise)

    @torch.inference_mode()
    def take(self, slot: int) -> NDArray[np.uint8]:
        """Decode a finished slot to (H, W, 3) and free it."""
        image = self._codec.decode(self._trajectories.state(slot)[None])[0]
        self.release(slot)
        levels: NDArray[np.uint8] = (
            ((image + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy()
        )
        return levels

    def release(self, slot: int) -> None:
        """Free a slot whatever its state."""
        self._trajectories.release(slot)

    def close(self) -> None:
        """Nothing to release: PyTorch frees memory with the object."""

    def _table(self, steps: int, sampler: str, guidance: float) -> SolverTable:
        key = (steps, sampler, guidance)
        table = self._tables.get(key)  # `plan` may run beside `admit`: no two looks at the cache
        if table is None:
            table = table_for(
                self._manifest.process,
                self._manifest.sampling,
                steps=steps,
                sampler=sampler,
                guidance=guidance,
            )
            if len(self._tables) >= KEPT_TABLES:
                self._tables.clear()
            self._tables[key] = table
        return table

    def _noise(self, x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        """Noise of any number of rows, by calls whose row counts are known to agree."""
        parts = []
        for start in range(0, len(x), GROUP):
            group = tuple(v[start : start + GROUP] for v in (x, t, y))
            rows = len(group[0])
            wanted = next(n for n in self._row_counts if n >= rows)
            padded = tuple(_repeat_last(v, wanted - rows) for v in group)
            parts.append(self._predictor(*padded)[:rows])
        return torch.cat(parts)

    @torch.inference_mode()
    def _agreeing_row_counts(self) -> tuple[int, ...]:
        """2..GROUP if the network gives each row the same bits in all of them, else GROUP alone."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(GROUP, *self._shape, generator=generator).to(self._device)
        t = torch.linspace(0.05, 0.95, GROUP, device=self._device)
        y = torch.arange(GROUP, device=self._device) % self._manifest.network.classes
        whole = self._predictor(x, t, y)
        counts = tuple(range(2, GROUP + 1))
        agree = all(
            torch.equal(self._predictor(x[:n], t[:n], y[:n]), whole[:n])
            and torch.equal(self._predictor(x[-n:], t[-n:], y[-n:]), whole[-n:])
            for n in counts
        )
        return counts if agree else (GROUP,)

    @torch.inference_mode()
    def _measure(self, calls: int = 3) -> float:
        """Seconds a row in a full group, the least of a few calls."""
        x = torch.zeros(GROUP, *self._shape, device=self._device)
        t = torch.full((GROUP,), 0.5, device=self._device)
        y = torch.zeros(GROUP, dtype=torch.int64, device=self._device)
        seconds = []
        for _ in range(calls):
            began = time.perf_counter()
            self._predictor(x, t, y).sum().item()
            seconds.append(time.perf_counter() - began)
        return min(seconds) / GROUP


def _repeat_last(v: Tensor, times: int) -> Tensor:
    """Append the last row `times` times."""
    return torch.cat((v, v[-1:].expand(times, *v.shape[1:]))) if times else v
