"""A bundle's compiled plans as a backend, TensorRT's or TensorRT-RTX's, on a CUDA device."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from export.graph.parts import DECODER, TEXT_ENCODER, Part, denoiser_parts, parts_of
from export.runtime.backend import Backend, EngineName
from export.runtime.bindings import ROWS, Binding, memory_needed, misfit
from export.runtime.codec import PartCodec
from export.runtime.encoder import prompts_by
from export.runtime.fitness import architecture_number, unfit_architecture, unfit_library
from export.runtime.gpu import Gpu
from export.runtime.graphs import GraphedNetwork, Repeated
from export.runtime.listed import Listed, build_command, check_build, listed, rebuild_command
from export.runtime.plan import Plan, PlanFault, bind_of
from export.runtime.refusal import EngineRefused
from export.runtime.rows import RowGroups, Shapes, bucket_groups, buckets_up_to
from export.runtime.site import Site
from export.runtime.soundness import STATE_AXES, unsound
from export.runtime.tensorrt import PlanRefused, PlanUnsupported, open_runtime
from export.runtime.trajectory import Tensors
from model.autoencoder import Codec
from model.diffusion.predictor import NoisePredictor
from model.text.prompts import Prompts

MEBIBYTE = 2**20


class Opens(Protocol):
    """What is asked of a library that runs plans."""

    @property
    def library(self) -> str:
        """Name and version."""

    @property
    def portable(self) -> bool:
        """Whether its plans may run on later architectures than their own."""

    def open(self, plan: bytes, key: str) -> Plan:
        """Deserialise, or raise `PlanRefused`; what is compiled of it is kept under the key."""

    def keep(self) -> None:
        """Write down what was compiled of the plans, for the next start."""


def tensorrt_backend(site: Site, why: str) -> Backend:
    """The bundle's TensorRT plans, whichever compiler made them; errors as of `plan_backend`."""
    return plan_backend(site, why, "tensorrt", ("tensorrt", "torch-tensorrt"))


def rtx_backend(site: Site, why: str) -> Backend:
    """The bundle's TensorRT-RTX plans; errors as of `plan_backend`."""
    return plan_backend(site, why, "tensorrt-rtx", ("tensorrt-rtx",))


def plan_backend(site: Site, why: str, name: EngineName, backends: Sequence[str]) -> Backend:
    """The bundle's plans of these backends, on the CUDA device of the site.

    Raises:
        EngineRefused: the bundle has none, the library is not installed, none was built for its
            version and this GPU, the library refuses it, or memory is too small; says what to run.
        BundleRefused: a latent model without its autoencoder, or a plan that was changed.
    """
    parts = denoiser_parts(site.bundle.network)
    builds = listed(site, name, backends, [part.name for part in parts])
    runtime = open_runtime(name, site.cache)
    return first_backend(site, why, name, builds, runtime, Gpu.of(site.device))


def first_backend(
    site: Site, why: str, name: EngineName, builds: Sequence[Listed], runtime: Opens, gpu: Gpu
) -> Backend:
    """The first of these builds that runs, the best going first; errors as of `plan_backend`."""
    refusals: list[tuple[str, str]] = []  # no exceptions: they hold on to what was opened
    for plans in fitting(builds, name, runtime, gpu.arch):
        try:
            return _opened(site, why, name, plans, runtime, gpu)
        except EngineRefused as refusal:
            refusals.append((refusal.reason, refusal.remedy))
    raise EngineRefused(name, "; ".join(reason for reason, _ in refusals), refusals[0][1])


def fitting(builds: Sequence[Listed], engine: str, runtime: Opens, arch: str) -> tuple[Listed, ...]:
    """Those builds that the library and the GPU here can run, as far as is known.

    FP16 goes first, then whatever is closest to the GPU.

    Raises:
        EngineRefused: there are none; says of each why not, and what to run.
    """
    fit: list[Listed] = []
    reasons = []
    for plans in builds:
        reason = (
            ("" if plans.buckets else "its parts were built for row counts of which none is shared")
            or unfit_library(plans.library, runtime.library)
            or unfit_architecture(plans.arch, arch, portable=runtime.portable)
        )
        if reason is None:
            fit.append(plans)
        else:
            reasons.append(reason)
    if not fit:
        command = f"{build_command(builds[0].folder, engine)} --overwrite"
        raise EngineRefused(engine, "; ".join(reasons), command)
    return tuple(
        sorted(fit, key=lambda p: (p.precision != "float16", -architecture_number(p.arch)))
    )


def _opened(
    site: Site, why: str, name: EngineName, plans: Listed, runtime: Opens, gpu: Gpu
) -> Backend:
    """One build, every call of which is bound and has been compared with PyTorch."""
    check_build(plans, site.bundle.manifest, name)
    parts = denoiser_parts(site.bundle.network)
    opened = [open_plan(runtime, plans, name, part, outputs_like(part)) for part in parts]
    buckets = buckets_up_to(site.rows, plans.buckets)
    needed = _memory_of(opened, buckets)
    codec, decoder, encoder, prompts = site.bundle.codec, None, None, None
    if DECODER in plans.entries:
        decoder = _opened_decoder(site, name, plans, runtime)
        needed += _memory_of([decoder], (_fewest(decoder),))
    if TEXT_ENCODER in plans.entries:
        encoder = _opened_encoder(site, name, plans, runtime)
        needed += _memory_of([encoder], (_fewest(encoder),))
    require_memory(needed, gpu.free_bytes(), name)
    if decoder is None:
        codec = codec.to(gpu.device)
    graphs, streams = gpu.begin_graphs(), gpu.begin_streams()
    scratch = scratch_for(opened, gpu.device)
    network = GraphedNetwork(
        [
            bind_of(plan, part.inputs, part.outputs, scratch, graphs.capture)
            for plan, part in zip(opened, parts, strict=True)
        ]
    )
    try:
        with streams.ticking():
            fault = unsound(network.parts, parts, buckets, gpu.device)
        if decoder is not None and fault is None:
            with streams.decoding():
                codec, fault = _decoding(site, decoder, codec, gpu)
        if encoder is not None and fault is None:
            prompts, fault = _reading(site, encoder, gpu)
    except PlanFault as error:
        raise EngineRefused(name, str(error), rebuild_command(plans)) from error
    if fault is not None:
        place = plans.path(parts[0].name).parent
        reason = f"the plans in {place} predict something else than PyTorch: {fault}"
        remedy = f"run: dimr-export verify {plans.folder} --engine {name}"
        raise EngineRefused(name, reason, remedy)
    return Backend(
        name=name,
        why=why,
        precision=plans.precision,
        device=gpu.device,
        network=network,
        codec=codec,
        prompts=prompts,
        grouping=functools.partial(warmed_groups, runtime=runtime, buckets=buckets),
        streams=streams,
        facts={
            "library": runtime.library,
            "arch": plans.arch,
            "captured": graphs.captured == len(parts) * len(buckets),
        },
    )


def open_plan(
    runtime: Opens, plans: Listed, engine: str, part: Part, outputs: Mapping[str, Binding]
) -> Plan:
    """Deserialise a part, and check that it takes and gives what the network does.

    Raises:
        EngineRefused: the library refuses it, or it takes or gives something else.
    """
    path = plans.path(part.name)
    try:
        plan = runtime.open(path.read_bytes(), plans.entries[part.name].key)
    except PlanUnsupported as error:
        reason = f"{runtime.library} refuses {path}: {error}"
        raise EngineRefused(engine, reason, "set DIMR_ENGINE=pytorch-cuda") from error
    except PlanRefused as error:
        reason = f"{runtime.library} refuses {path}: {error}"
        raise EngineRefused(engine, reason, rebuild_command(plans)) from error
    inputs = {name: Binding.like(example) for name, example in part.inputs.items()}
    difference = misfit(plan.inputs, inputs, "takes") or misfit(plan.outputs, outputs, "gives")
    if difference is not None:
        raise EngineRefused(engine, f"{path}: {difference}", rebuild_command(plans))
    return plan


def outputs_like(part: Part) -> Mapping[str, Binding]:
    """What a part of a denoiser gives: a prediction like each of its states."""
    states = (value for value in part.inputs.values() if value.ndim == STATE_AXES)
    return {name: Binding.like(z) for name, z in zip(part.outputs, states, strict=True)}


def _opened_decoder(site: Site, name: EngineName, plans: Listed, runtime: Opens) -> Plan:
    part, side = _part(site, DECODER), site.bundle.manifest.sizes[-1]
    images = {output: Binding(torch.float32, (ROWS, 3, side, side)) for output in part.outputs}
    return open_plan(runtime, plans, name, part, images)


def _opened_encoder(site: Site, name: EngineName, plans: Listed, runtime: Opens) -> Plan:
    part, prompts = _part(site, TEXT_ENCODER), site.bundle.prompts
    assert prompts is not None
    shape = (ROWS, prompts.tokens, prompts.identity.width)
    states = {output: Binding(torch.float32, shape) for output in part.outputs}
    return open_plan(runtime, plans, name, part, states)


def _part(site: Site, name: str) -> Part:
    return next(part for part in parts_of(site.bundle) if part.name == name)


def _decoding(site: Site, plan: Plan, codec: Codec, gpu: Gpu) -> tuple[Codec, str | None]:
    """A codec by a plan, and how it is unsound."""
    decoder, fault = _bound_beside(_part(site, DECODER), plan, gpu)
    return PartCodec(codec, decoder, _fewest(plan)), fault


def _reading(site: Site, plan: Plan, gpu: Gpu) -> tuple[Prompts, str | None]:
    """What reads prompts by a plan, on the stream of whoever asks, and how it is unsound."""
    encoder, fault = _bound_beside(_part(site, TEXT_ENCODER), plan, gpu)

    def there(ids: Tensor, mask: Tensor) -> Tensors:
        return encoder(ids.to(gpu.device), mask.to(gpu.device))

    return prompts_by(site.bundle, there, _fewest(plan)), fault


def _bound_beside(part: Part, plan: Plan, gpu: Gpu) -> tuple[Repeated, str | None]:
    """A call with the fewest rows and with working memory of its own, and how it is unsound."""
    capture, scratch = gpu.begin_graphs().capture, scratch_for([plan], gpu.device)
    call = Repeated(bind_of(plan, part.inputs, part.outputs, scratch, capture))
    return call, unsound([call], [part], (_fewest(plan),), gpu.device)


def _fewest(plan: Plan) -> int:
    return min(profile.least for profile in plan.profiles)


def _memory_of(plans: Sequence[Plan], buckets: Sequence[int]) -> int:
    bindings = [b for plan in plans for b in (*plan.inputs.values(), *plan.outputs.values())]
    return memory_needed(bindings, buckets, [plan.scratch_bytes for plan in plans])


def require_memory(needed: int, free: int, engine: str) -> None:
    """Refuse what does not fit, before anything is allocated.

    Args:
        needed: bytes of the buffers and of working memory.
        free: bytes.
        engine: what an operator calls it.

    Raises:
        EngineRefused: more is needed than is free.
    """
    if needed > free:
        raise EngineRefused(
            engine,
            f"it needs {needed / MEBIBYTE:.0f} MiB beside its weights; {free / MEBIBYTE:.0f} MiB "
            f"of the device are free",
            "set DIMR_SLOTS lower, serve fewer bundles, or name another engine",
        )


def scratch_for(plans: Iterable[Plan], device: torch.device) -> Tensor:
    """Working memory that any of these plans can have, one at a time."""
    size = max(plan.scratch_bytes for plan in plans)
    return torch.empty(max(size, 1), dtype=torch.uint8, device=device)


def warmed_groups(
    predictor: NoisePredictor,
    shapes: Shapes,
    condition: Tensors,
    *,
    runtime: Opens,
    buckets: Sequence[int],
) -> RowGroups:
    """`bucket_groups`, after which what the library compiled on the way is kept for next time."""
    groups = bucket_groups(predictor, shapes, condition, buckets=buckets)
    runtime.keep()
    return groups
