"""Which images a file of samples holds, so that any process can make any of them."""

from pathlib import Path

from pydantic import Field, PositiveInt

from model.bundle import AUTOENCODER_FILES, DENOISER
from model.evaluation.errors import PlanRefused
from model.sampling.images import ImageRequest
from model.sampling.noise import MAX_SEED
from model.sampling.samplers import table_for
from model.specs.base import Spec
from model.specs.manifest import Manifest
from model.specs.process import SamplingDefaults

_WEIGHTS = (DENOISER, *AUTOENCODER_FILES)


class SamplePlan(Spec):
    """N images spread evenly over the classes; equal plans give equal images, to rounding.

    The classes take turns (image i shows class i modulo `classes`), so that every run of
    consecutive images is balanced: suites take the Inception Score over runs of 5000. Where N is no
    multiple of `classes`, the R images of the last, incomplete round are spread evenly over the
    list of classes: the j-th of them shows class j * classes // R.
    """

    bundle_id: str
    weights_sha256: dict[str, str] = Field(description="by file of the bundle")
    images: PositiveInt
    classes: PositiveInt
    seed: int = Field(ge=0, description="of the first image; image i has seed + i")
    sampling: SamplingDefaults

    @classmethod
    def of(
        cls, manifest: Manifest, *, images: int, seed: int, sampling: SamplingDefaults
    ) -> "SamplePlan":
        """Plan images of a bundle.

        Raises:
            PlanRefused: the seeds would go past the largest one.
            ParameterRejected: the sampler cannot take this many steps.
        """
        if seed + images - 1 > MAX_SEED:
            allowed = f"0 to {MAX_SEED - images + 1} with {images} images"
            msg = f"argument --seed: got {seed}; allowed: {allowed}"
            raise PlanRefused(msg)
        table_for(
            manifest.process,
            sampling,
            sampler=sampling.sampler,
            steps=sampling.steps,
            guidance=sampling.guidance,
        )
        return cls(
            bundle_id=manifest.id,
            weights_sha256={
                name: entry.sha256 for name, entry in manifest.files.items() if name in _WEIGHTS
            },
            images=images,
            classes=manifest.network.classes,
            seed=seed,
            sampling=sampling,
        )

    def label(self, index: int) -> int:
        """Class of image `index`, 0 <= index < images."""
        turn, place = divmod(index, self.classes)
        rest = self.images - turn * self.classes
        return place if rest >= self.classes else place * self.classes // rest

    def request(self, index: int) -> ImageRequest:
        """All that image `index` depends on, beside the bundle."""
        return ImageRequest(
            label=self.label(index),
            seed=self.seed + index,
            steps=self.sampling.steps,
            sampler=self.sampling.sampler,
            guidance=self.sampling.guidance,
        )

    def check_same(self, path: Path) -> None:
        """Refuse to go on with what another plan began.

        Args:
            path: a file that holds a plan.

        Raises:
            PlanRefused: it holds another plan, or none; names the first difference.
        """
        try:
            there = SamplePlan.model_validate_json(path.read_bytes())
        except ValueError as error:
            msg = f"{path}: holds no plan of samples; remove it or choose another --out"
            raise PlanRefused(msg) from error
        for field, now in self._facts().items():
            before = there._facts()[field]
            if before != now:
                msg = (
                    f"{path}: {field}: got {now}, but the images there were made with {before}; "
                    f"allowed: the same, another --out, or to remove them first"
                )
                raise PlanRefused(msg)

    def _facts(self) -> dict[str, object]:
        """All fields, those of the sampling by name."""
        sampling = {f"sampling.{k}": v for k, v in self.sampling.model_dump().items()}
        return self.model_dump(exclude={"sampling"}) | sampling
