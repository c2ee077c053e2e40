"""A bundle's engine beside PyTorch in float32: images, network calls, parts, and where it errs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from export.compilers.options import Progress
from export.graph.parts import DECODER, TEXT_ENCODER
from export.parity.candidates import Candidate, CandidateName, candidate, device_of
from export.parity.cases import Case, cases_of, together
from export.parity.figures import psnr_db
from export.parity.networks import call_errors
from export.parity.others import decoder_psnrs_db, text_error, token_calls
from export.parity.reference import Reference, reference_of, request_of
from export.parity.report import ImageError, ParityReport
from export.parity.study import Studied, Study
from export.runtime.codec import PartCodec
from export.runtime.trajectory import Tensors
from model.bundle import Bundle, load_bundle
from model.specs.manifest import EngineEntry
from model.specs.process import SamplingDefaults
from model.text.pretrained import Pretrained


def verify(
    folder: Path,
    name: CandidateName,
    *,
    samples: int,
    steps: int | None,
    study: Study | None,
    progress: Progress,
) -> tuple[ParityReport, Sequence[EngineEntry]]:
    """Compare an engine of a bundle with PyTorch.

    Args:
        folder: the bundle, which stays as it is.
        name: of the engine.
        samples: images of each size, at least 1.
        steps: network calls of an image; None are the bundle's own.
        study: finds out where errors come from; None does not.
        progress: is told how far it is.

    Returns:
        What was found, and the manifest's engines that it holds for.

    Raises:
        BundleRefused: it is no bundle, or a file of it was changed.
        EngineRefused: the engine cannot run here, or the bundle has none; says what to run.
        GraphRefused, GraphsUnwritten, OnnxAbsent: see `export.parity.graphs.opened`.
        ParameterRejected: the sampler cannot take so many steps.
        PlanFault: a plan that was accepted cannot be run.
        SamplerUnknown: there is none of the name that the manifest has.
    """
    device = device_of(name, folder)
    bundle = load_bundle(folder)
    bundle.to(device)
    defaults = bundle.manifest.sampling
    sampling = defaults.model_copy(update={} if steps is None else {"steps": steps})
    with candidate(name, folder, load_bundle(folder), progress) as found:
        cases = cases_of(bundle.manifest, samples)
        reference = reference_of(bundle, cases, sampling, progress)
        images = _image_errors(found, cases, reference, sampling, progress)
        calls = call_errors(found, bundle, reference.calls, progress)
        decoder = _decoder_errors(found, bundle, reference, progress)
        prompts = _prompts(bundle, cases)
        text = _text_error(found, bundle, prompts, progress)
        bundle.to(torch.device("cpu"))
        studied = Studied()
        if study is not None:
            studied = study(found, bundle, reference.calls, prompts, progress)
        report = ParityReport(
            bundle_id=bundle.manifest.id,
            threshold=bundle.manifest.parity,
            engine=name,
            did=found.did,
            library=str(found.backend.facts.get("library", f"torch {torch.__version__}")),
            precision=found.backend.precision,
            sampling=sampling,
            images=images,
            calls=calls,
            layers=studied.layers,
            islands=studied.islands,
            decoder=decoder,
            text=text,
        )
        return report, found.entries


def _image_errors(
    found: Candidate,
    cases: Sequence[Case],
    reference: Reference,
    sampling: SamplingDefaults,
    progress: Progress,
) -> tuple[ImageError, ...]:
    progress.began(found.name, "sampling", len(cases))
    images: list[NDArray[np.uint8]] = []
    for batch in together(cases):
        images += _drawn(found, batch, sampling)
        progress.advanced(len(images))
    return tuple(
        ImageError(case, psnr_db(image, exact))
        for case, image, exact in zip(cases, images, reference.images, strict=True)
    )


def _drawn(
    found: Candidate, cases: Sequence[Case], sampling: SamplingDefaults
) -> list[NDArray[np.uint8]]:
    """Images from the engine's slots, as a worker has them."""
    engine = found.engine
    for slot, case in enumerate(cases):
        wanted = request_of(case, sampling)
        engine.admit(
            slot,
            condition=wanted.condition,
            seed=wanted.seed,
            steps=wanted.steps,
            sampler=wanted.sampler,
            guidance=wanted.guidance,
            size=case.size,
        )
    running = list(range(len(cases)))
    while running:
        finished = set(engine.step(running))
        running = [slot for slot in running if slot not in finished]
    return [engine.take(slot) for slot in range(len(cases))]


def _decoder_errors(
    found: Candidate, bundle: Bundle, reference: Reference, progress: Progress
) -> tuple[float, ...]:
    """PSNR of each image of the engine's own decoder, if it has one."""
    if not isinstance(found.backend.codec, PartCodec):
        return ()
    progress.began(DECODER, "decoding")
    with found.backend.streams.decoding():
        return decoder_psnrs_db(found.backend.codec, bundle.codec, reference.ends.values())


def _prompts(bundle: Bundle, cases: Sequence[Case]) -> Sequence[Tensors]:
    """What the text encoder is called with, if it is a part."""
    if bundle.prompts is None or not isinstance(bundle.prompts.encoder, Pretrained):
        return ()
    wanted = [case.condition for case in cases]
    return token_calls(bundle.prompts.encoder, wanted, bundle.prompts.tokens)


def _text_error(
    found: Candidate, bundle: Bundle, prompts: Sequence[Tensors], progress: Progress
) -> float | None:
    """Of the engine's own text encoder, if it has one."""
    if found.text is None or bundle.prompts is None:
        return None
    progress.began(TEXT_ENCODER, "reading")
    encoder = bundle.prompts.encoder
    assert isinstance(encoder, Pretrained), "only such a one is a part"
    return text_error(found.text, encoder, prompts)
