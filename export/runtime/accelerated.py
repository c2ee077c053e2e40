"""PyTorch on a CUDA device: float16, and one CUDA graph a bucket.

Of two engines one has a Triton kernel of ours for each TD norm and update, the other one leaves
blocks to `torch.compile`. Whatever needs no kernel is rehearsed on a CPU.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from subprocess import SubprocessError
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import nn

from export.graph.nodes import LayerNormNode, RMSNormNode, norms_as_nodes
from export.graph.parts import Part, denoiser_parts
from export.graph.precision import Islands, narrow
from export.kernels.errors import TritonAbsent
from export.runtime.backend import Backend, EngineName
from export.runtime.closeness import close
from export.runtime.graphs import CudaGraphs, GraphedNetwork, binds_of
from export.runtime.refusal import EngineRefused
from export.runtime.rows import bucket_groups, buckets_up_to
from export.runtime.site import Site
from export.runtime.soundness import unsound
from export.runtime.streams import CudaStreams
from export.runtime.trajectory import COLUMNS, Scale, Threshold, Ticked, Update, update_scale
from model.layers.norm import TDLayerNorm, TDRMSNorm
from model.layers.trunk import blocks_in
from model.specs.process import CodecSpec, LatentsSpec, PixelsSpec, Prediction

if TYPE_CHECKING:
    from model.denoisers.build import Denoiser

ENGINE: Literal["pytorch-cuda"] = "pytorch-cuda"
COMPILED: Literal["pytorch-compile"] = "pytorch-compile"
MOST_SHAPES = 256
INSTEAD = "or set DIMR_ENGINE=pytorch"
NO_HALF = "in float32, as this network predicts something else in float16"
_SAID = 300  # characters of a library's message that are passed on
Change = Callable[[nn.Module], nn.Module]


def accelerated_backend(site: Site, why: str) -> Backend:
    """The bundle's own network with kernels of ours.

    Args:
        site: with a CUDA device.
        why: why this engine, for card and log.

    Raises:
        EngineRefused: Triton is not installed or cannot compile here, or what is recorded predicts
            something else than PyTorch.
        BundleRefused: a latent model without its autoencoder.
    """
    device, exact = site.device, site.bundle.network.to(site.device)
    with triton_at_work():
        from export.kernels.library import triton_version

        update = fused_update(site.bundle.manifest.process.codec)
        update_once(update, device)
        network, precision = in_half(exact, device, with_fused_norms)
    library = f"torch {torch.__version__}, triton {triton_version()}"
    return _captured(site, why, ENGINE, network, precision, update, library)


def compiled_backend(site: Site, why: str) -> Backend:
    """The bundle's own network, compiled by PyTorch when it starts: minutes for a large one.

    Args:
        site: with a CUDA device.
        why: why this engine, for card and log.

    Raises:
        EngineRefused: what is recorded predicts something else than PyTorch.
        RuntimeError: PyTorch cannot compile it here.
        BundleRefused: a latent model without its autoencoder.
    """
    network, precision = in_half(site.bundle.network.to(site.device), site.device, compiled)
    library = f"torch {torch.__version__}"
    return _captured(site, why, COMPILED, network, precision, update_scale, library)


def _captured(
    site: Site,
    why: str,
    name: EngineName,
    network: nn.Module,
    precision: str,
    update: Update,
    library: str,
) -> Backend:
    """A network of which every call is recorded as a CUDA graph and was compared with PyTorch."""
    device, buckets = site.device, buckets_up_to(site.rows)
    codec = site.bundle.codec.to(device)
    modules = [part.module for part in parts_like(network)]
    graphed = GraphedNetwork(binds_of(modules, CudaGraphs(device).capture))
    streams = CudaStreams(device)  # now that the weights are there
    with streams.ticking():
        fault = unsound(graphed.parts, denoiser_parts(site.bundle.network), buckets, device)
    if fault is not None:
        raise EngineRefused(name, f"it predicts something else than PyTorch: {fault}", INSTEAD)
    return Backend(
        name=name,
        why=why if precision == "float16" else f"{why}; {NO_HALF}",
        precision=precision,
        device=device,
        network=graphed,
        codec=codec,
        grouping=functools.partial(bucket_groups, buckets=buckets),
        update=update,
        streams=streams,
        facts={"library": library, "captured": True},
    )


@contextmanager
def triton_at_work() -> Iterator[None]:
    """Where kernels are compiled and launched for the first time.

    Raises:
        EngineRefused: Triton is not installed, or it or the C compiler that it calls fails.
    """
    try:
        from triton.errors import TritonError
    except ImportError as error:
        raise EngineRefused(ENGINE, str(TritonAbsent()), INSTEAD) from error
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, OSError, SubprocessError, TritonError) as error:
        said = " ".join(str(error).split())
        reason = f"a Triton kernel cannot be compiled and run here: {said:.{_SAID}}"
        needs = "Triton needs a C compiler and Python's headers (Debian: apt install gcc "
        raise EngineRefused(ENGINE, reason, f"{needs}python3-dev), {INSTEAD}") from error


def update_once(update: Update, device: torch.device) -> None:
    """Take one small slot through a table row, to see whether that can be done here."""
    scale = Scale.of(2, (1, 2, 2), device)
    slot, nobody = torch.tensor([0], device=device), torch.tensor([], device=device).long()
    ticked = Ticked(slot, nobody, torch.ones(1, COLUMNS, device=device), scale.x[:1])
    update(scale, ticked, lambda data: data)


def in_half(network: nn.Module, device: torch.device, fused: Change) -> tuple[nn.Module, str]:
    """The network in float16 around its islands, or in float32 where float16 would be seen.

    One call of each decides; see `closeness`.

    Args:
        network: on the device; it stays as it is, its tensors are shared.
        device: where it is.
        fused: what is done to a copy whose TD norms are nodes, e.g. `with_fused_norms`.

    Returns:
        A copy, and the name of its precision.
    """
    half = norms_as_nodes(network)
    narrow(half, Islands())
    half = fused(half)
    exact, found = parts_like(network)[-1], parts_like(half)[-1]
    call = [value.to(device) for value in exact.inputs.values()]
    with torch.inference_mode():
        same = close(found.module(*call), exact.module(*call))
    return (half, "float16") if same else (fused(norms_as_nodes(network)), "float32")


def parts_like(network: nn.Module) -> Sequence[Part]:
    """The parts of a denoiser, or of a copy of one that has other norms."""
    return denoiser_parts(cast("Denoiser", network))


def compiled(network: nn.Module, *, backend: str = "inductor") -> nn.Module:
    """The network, in place, with blocks that PyTorch compiles for each shape of call.

    Blocks of a stage have one code. It is compiled as often as there are shapes: PyTorch's own
    limit, beyond which it would say nothing and run the rest as it is, is lifted.
    """
    torch._dynamo.config.recompile_limit = MOST_SHAPES
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, RMSNormNode | LayerNormNode):
                setattr(module, name, _plain(child))
    for blocks in blocks_in(network):
        for block in blocks:
            block.compile(dynamic=False, backend=backend)
    return network


def _plain(node: RMSNormNode | LayerNormNode) -> nn.Module:
    """A norm that a compiler sees through, with the parameters of a node."""
    if isinstance(node, RMSNormNode):
        rms_norm = TDRMSNorm(1)
        rms_norm.scale = node.scale
        return rms_norm
    norm = TDLayerNorm(1)
    norm.weight, norm.bias = node.weight, node.bias
    return norm


def with_fused_norms(network: nn.Module) -> nn.Module:
    """The network, in place, with a Triton kernel for each TD norm that is a node.

    Raises:
        ImportError: Triton is not installed.
    """
    from export.kernels.td_norm import KernelTDLayerNorm, KernelTDRMSNorm

    for module in list(network.modules()):
        for name, child in module.named_children():
            match child:
                case RMSNormNode():  # it holds the same parameters under the same names
                    setattr(module, name, KernelTDRMSNorm(cast("TDRMSNorm", child)))
                case LayerNormNode():
                    setattr(module, name, KernelTDLayerNorm(cast("TDLayerNorm", child)))
                case _:
                    pass
    return network


def fused_update(codec: CodecSpec) -> Update:
    """The solver's part of a tick as one kernel a scale; the codec decides what is clamped.

    Raises:
        ImportError: Triton is not installed.
    """
    from export.kernels.update import UNLIMITED, SlotStates, update

    match codec:
        case PixelsSpec():
            limits = (-1.0, 1.0)
        case LatentsSpec():
            limits = UNLIMITED

    def fused(scale: Scale, ticked: Ticked, _threshold: Threshold) -> None:
        samples = torch.arange(len(ticked.index), device=ticked.index.device)
        second = torch.arange(len(ticked.twice), device=ticked.index.device) + len(samples)
        update(
            SlotStates(scale.x, scale.anchor, scale.history),
            ticked.noise,
            slots=ticked.index,
            unconditional=samples.index_copy(0, ticked.twice, second),
            columns=ticked.rows,
            kind=Prediction.NOISE,
            limits=limits,
        )

    return fused
