"""Which images a file of samples holds, so that any process can make any of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, PositiveInt

from model.bundle import AUTOENCODER_FILES, DENOISER
from model.data.order import batch_indices
from model.evaluation.errors import PlanRefused
from model.sampling.images import ImageRequest
from model.sampling.noise import MAX_SEED
from model.sampling.samplers import tables_for
from model.specs.base import Spec
from model.specs.layered import LayeredSpec
from model.specs.manifest import Manifest
from model.specs.networks import NetworkSpec
from model.specs.process import SamplingDefaults

_WEIGHTS = (DENOISER, *AUTOENCODER_FILES)


class SamplePlan(Spec):
    """N images of classes or of captions; equal plans give equal images, to rounding.

    Of a class model the images are spread evenly over the classes. The classes take turns (image i
    shows class i modulo `classes`), so that every run of consecutive images is balanced: suites
    take the Inception Score over runs of 5000. Where N is no multiple of `classes`, the R images of
    the last, incomplete round are spread evenly over the list of classes: the j-th of them shows
    class j * classes // R.

    Of a prompt model each image has a caption of its own, drawn from the list without putting back,
    as is usual with MS-COCO; where there are more images than captions, another draw begins once
    each has been shown. The order follows from the seed.
    """

    bundle_id: str
    weights_sha256: dict[str, str] = Field(description="by file of the bundle")
    images: PositiveInt
    classes: PositiveInt = Field(description="or captions, of a prompt model")
    captions_sha256: str | None = Field(default=None, description="of the list; of a prompt model")
    size: int | None = Field(default=None, description="side in pixels; null is the largest")
    seed: int = Field(ge=0, description="of the first image; image i has seed + i")
    sampling: SamplingDefaults

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        *,
        images: int,
        seed: int,
        sampling: SamplingDefaults,
        captions: Sequence[str] | None = None,
        size: int | None = None,
    ) -> "SamplePlan":
        """Plan images of a bundle.

        Args:
            manifest: the bundle's.
            images: how many.
            seed: of the first image, and of the order of captions.
            sampling: how they are drawn.
            captions: what they show, of a prompt model.
            size: side in pixels, the largest by default.

        Raises:
            PlanRefused: the seeds would go past the largest one, captions are missing or have no
                effect, or the bundle makes no images of this size.
            ParameterRejected: the sampler cannot take this many steps.
        """
        _check_subjects(manifest, captions)
        if size not in {None, *manifest.sizes}:
            allowed = " or ".join(map(str, manifest.sizes))
            msg = f"argument --size: got {size}; allowed with this bundle: {allowed}"
            raise PlanRefused(msg)
        if seed + images - 1 > MAX_SEED:
            allowed = f"0 to {MAX_SEED - images + 1} with {images} images"
            msg = f"argument --seed: got {seed}; allowed: {allowed}"
            raise PlanRefused(msg)
        network = manifest.network
        tables_for(
            manifest.process,
            network.sides,
            sampling,
        )
        return cls(
            bundle_id=manifest.id,
            weights_sha256={
                name: entry.sha256 for name, entry in manifest.files.items() if name in _WEIGHTS
            },
            images=images,
            classes=_count(network, captions),
            captions_sha256=None if captions is None else _sha256(captions),
            size=None if size == manifest.sizes[-1] else size,
            seed=seed,
            sampling=sampling,
        )

    def label(self, index: int) -> int:
        """Class or place of the caption of image `index`, 0 <= index < images."""
        if self.captions_sha256 is not None:
            return int(batch_indices(index, 1, self.classes, self.seed))
        turn, place = divmod(index, self.classes)
        rest = self.images - turn * self.classes
        return place if rest >= self.classes else place * self.classes // rest

    def request(self, index: int, captions: Sequence[str] | None = None) -> ImageRequest:
        """All that image `index` depends on, beside the bundle; `captions` of a prompt model."""
        label = self.label(index)
        return ImageRequest(
            condition=label if captions is None else captions[label],
            seed=self.seed + index,
            steps=self.sampling.steps,
            sampler=self.sampling.sampler,
            guidance=self.sampling.guidance,
            size=self.size,
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


def _check_subjects(manifest: Manifest, captions: Sequence[str] | None) -> None:
    """Raise PlanRefused unless captions are there just where they are needed."""
    if isinstance(manifest.network, LayeredSpec) and captions is None:
        msg = (
            f"argument --captions: {manifest.id} draws what a text says; "
            f"allowed: a list of captions or captioned images"
        )
        raise PlanRefused(msg)
    if not isinstance(manifest.network, LayeredSpec) and captions is not None:
        msg = f"argument --captions: {manifest.id} draws classes; allowed: with a prompt model"
        raise PlanRefused(msg)


def _count(network: NetworkSpec, captions: Sequence[str] | None) -> int:
    """How many different things images show."""
    if captions is not None:
        return len(captions)
    assert not isinstance(network, LayeredSpec)
    return network.classes


def _sha256(captions: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(captions).encode()).hexdigest()
