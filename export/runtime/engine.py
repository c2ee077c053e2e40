"""The engine: slots of one bundle, stepped together on whatever backend computes its network."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.runtime.backend import Backend
from export.runtime.rows import GROUP
from export.runtime.trajectory import Trajectories
from model.bundle import Bundle
from model.diffusion.build import build_pyramid
from model.diffusion.predictor import NoisePredictor
from model.sampling.conditions import Wanted, conditions_for
from model.sampling.noise import initial_scales
from model.sampling.painter import check_size, to_levels
from model.sampling.samplers import SAMPLERS, tables_for
from model.sampling.tables import SolverTable
from model.specs.layered import LayeredSpec
from model.specs.networks import NetworkSpec

MAX_STEPS = 250
KEPT_TABLES = 1024

Pixels = Callable[[], NDArray[np.uint8]]
"""An image (H, W, 3) that is being decoded; any thread may call it, and waits for it."""


class SlotEngine:
    """Steps slots of any network, layered or not, by calls in groups of rows; see `RowGroups`.

    A model that is not layered is one of a single scale.
    """

    def __init__(self, bundle: Bundle, backend: Backend, *, capacity: int) -> None:
        """Allocate `capacity` slots where the backend computes, and let it warm up.

        Raises:
            RuntimeError: the backend fails, e.g. for lack of memory.
        """
        manifest = bundle.manifest
        network = manifest.network
        self._manifest = manifest
        self._labels = bundle.labels
        self._prompts = backend.prompts or bundle.prompts
        self._capacity = capacity
        self._backend = backend
        self._codec = backend.codec
        self._conditions = conditions_for(network, self._prompts)
        self._pyramid = build_pyramid(manifest.process, network.sides)
        shapes = [(network.channels, side, side) for side in network.sides]
        device = backend.device
        self._tables: dict[tuple[int, str, float], tuple[SolverTable, ...]] = {}
        with backend.streams.ticking():
            self._trajectories = Trajectories(
                capacity,
                shapes,
                null=self._conditions.null(1, device),
                threshold=self._codec.threshold,
                update=backend.update,
            )
            self._network = backend.grouping(
                NoisePredictor(backend.network, manifest.process, network.sides),
                shapes,
                self._conditions.rows(_specimens(network), device),
            )
        for size in manifest.sizes:
            self._rehearse(size)

    @property
    def capacity(self) -> int:
        """Number of slots."""
        return self._capacity

    @property
    def card(self) -> Mapping[str, object]:
        """The model card; see `service.cards.ModelCard`.

        Row counts and milliseconds of the engine are those of the largest size.
        """
        manifest = self._manifest
        paces = self._network.paces
        return {
            "id": manifest.id,
            "kind": manifest.kind,
            "conditioning": list(manifest.conditioning),
            "sizes": list(manifest.sizes),
            "previews": self._previews,
            "row_costs": {
                size: round(pace.row_seconds / paces[-1].row_seconds, 4)
                for size, pace in zip(manifest.sizes, paces, strict=True)
            },
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
                "size": manifest.sizes[-1],
            },
            "engine": {
                "backend": self._backend.name,
                "precision": self._backend.precision,
                "device": str(self._backend.device),
                "why": self._backend.why,
                **self._backend.facts,
                "capacity": self._capacity,
                "row_counts": list(paces[-1].row_counts),
                "row_ms": round(paces[-1].row_seconds * 1e3, 3),
            },
            "description": manifest.description,
            "licence": manifest.licence,
            "created": manifest.created,
        }

    @property
    def rows_per_s(self) -> float:
        """Network rows per second in full groups at the highest size, measured at start."""
        return 1 / self._network.paces[-1].row_seconds

    def plan(self, *, steps: int, sampler: str, guidance: float, size: int) -> Sequence[int]:
        """Network rows of each call: 2 with guidance, 1 where it is exactly 1.

        Raises:
            ValueError: no such sampler or size, or the sampler cannot take this many steps.
        """
        tables = self._tables_of(steps, sampler, guidance, size)
        return tables[0].rows_per_call.tolist()

    def notice(self, prompt: str) -> str | None:
        """What whoever wrote this prompt should know: that it is cut off; None if it is not."""
        return None if self._prompts is None else self._prompts.notice(prompt)

    def admit(
        self,
        slot: int,
        *,
        condition: Wanted,
        seed: int,
        steps: int,
        sampler: str,
        guidance: float,
        size: int,
    ) -> None:
        """Start a trajectory in a free slot from the noise of `seed`.

        Raises:
            ValueError: the model cannot draw this; the slot stays free.
        """
        tables = self._tables_of(steps, sampler, guidance, size)
        device, channels = self._backend.device, self._manifest.network.channels
        with self._backend.streams.ticking():
            rows = self._conditions.rows([condition], device)
            noise = initial_scales([seed], channels, self._pyramid, device)
            self._trajectories.start(slot, tables, noise, rows)

    @torch.inference_mode()
    def step(self, slots: Sequence[int]) -> Sequence[int]:
        """Advance these slots by one network call each; returns the finished ones."""
        with self._backend.streams.ticking():
            return self._trajectories.step(slots, self._network)

    @torch.inference_mode()
    def preview(self, slot: int) -> Pixels | None:
        """The latest data prediction of a slot at the lowest size of a model with several.

        None before the first call, and where the model has one size.
        """
        data = self._trajectories.lowest_data(slot) if self._previews else None
        return None if data is None else self._decoded(data)

    @torch.inference_mode()
    def decode(self, slot: int) -> Pixels:
        """Begin to decode a finished slot to (size, size, 3), and free it."""
        image = self._decoded(self._trajectories.state(slot))
        self.release(slot)
        return image

    def take(self, slot: int) -> NDArray[np.uint8]:
        """Decode a finished slot and free it, for callers that have nothing else to do."""
        return self.decode(slot)()

    def release(self, slot: int) -> None:
        """Free a slot whatever its state."""
        self._trajectories.release(slot)

    def close(self) -> None:
        """Nothing to release: device memory is freed with the object."""

    @property
    def _previews(self) -> bool:
        return len(self._manifest.sizes) > 1

    def _tables_of(
        self, steps: int, sampler: str, guidance: float, size: int
    ) -> tuple[SolverTable, ...]:
        """A table for each scale up to this size: the very steps that the highest size takes."""
        sizes = self._manifest.sizes
        check_size(size, sizes)
        key = (steps, sampler, guidance)
        tables = self._tables.get(key)  # `plan` may run beside `admit`: no two looks at the cache
        if tables is None:
            tables = tables_for(
                self._manifest.process,
                self._manifest.network.sides,
                self._manifest.sampling,
                steps=steps,
                sampler=sampler,
                guidance=guidance,
            )
            if len(self._tables) >= KEPT_TABLES:
                self._tables.clear()
            self._tables[key] = tables
        return tables[: sizes.index(size) + 1]

    def _decoded(self, x: Tensor) -> Pixels:
        """An image (H, W, 3) from one tensor (C, d, d) that was denoised."""
        images = self._backend.streams.decoded(x[None], self._codec.decode)

        def pixels() -> NDArray[np.uint8]:
            image: NDArray[np.uint8] = to_levels(images())[0]
            return image

        return pixels

    def _rehearse(self, size: int) -> None:
        """One tick for this size: what is compiled or loaded by its first use is so now."""
        usual, slot = self._manifest.sampling, 0
        self.admit(
            slot,
            condition=_specimens(self._manifest.network)[-1],
            seed=0,
            steps=usual.steps,
            sampler=usual.sampler,
            guidance=usual.guidance,
            size=size,
        )
        self.step([slot])
        self.release(slot)


def _specimens(network: NetworkSpec) -> list[Wanted]:
    """Unlike conditions, `GROUP` of them: classes, or prompts of no word, one word, two ..."""
    match network:
        case LayeredSpec():
            return ["apple " * words for words in range(GROUP)]
        case _:
            return [index % network.classes for index in range(GROUP)]
