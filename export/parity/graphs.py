"""The graph that plans are made of, run by ONNX Runtime on a CPU.

It shows what float16 does to a network wherever there is no GPU. It stands for no plan: a plan's
kernels add in another order, so that the plan itself has to be verified where it is to run.
"""

import functools
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from export.compilers.options import Progress
from export.compilers.rows import over_rows
from export.graph.parts import DECODER, DENOISER, TEXT_ENCODER, Part, parts_of
from export.graph.precision import Islands, Precision
from export.graph.trace import to_onnx, write_onnx
from export.parity.cases import TOGETHER
from export.parity.rounding import round_all
from export.runtime.backend import Backend
from export.runtime.codec import PartCodec
from export.runtime.onnx import OnnxNetwork, OnnxPart, import_runtime, open_session
from export.runtime.rows import bucket_groups
from model.bundle import Bundle

ROWS = 2 * TOGETHER


class GraphsUnwritten(Exception):
    """Graphs cannot be written aside, to be run from there."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"graphs cannot be written aside: {error}; allowed: a TMPDIR with room for them"
        )


@contextmanager
def opened(part: Part, precision: Precision, islands: Islands | None = None) -> Iterator[OnnxPart]:
    """A part as a graph that runs, until the context ends.

    Raises:
        GraphRefused: it cannot be written as a graph; names the module and the op.
        GraphsUnwritten: no folder for temporary files has room for it.
        OnnxAbsent: what writes ONNX is not installed.
        EngineRefused: ONNX Runtime is not installed, or refuses the graph.
    """
    import_runtime()
    with ExitStack() as stack:
        try:
            place = stack.enter_context(tempfile.TemporaryDirectory(prefix="dimr-verify-"))
            rows = max(part.buckets((ROWS,)))
            model = to_onnx(part, precision=precision, max_batch=rows, islands=islands)
            if precision is Precision.FP16:
                round_all(model)
            graph, *_ = write_onnx(model, Path(place) / f"{part.name}.onnx")
        except OSError as error:
            raise GraphsUnwritten(error) from error
        del model
        yield OnnxPart(open_session(graph, tuple(part.inputs), threads=torch.get_num_threads()))


@contextmanager
def graph_backend(
    bundle: Bundle, precision: Precision, progress: Progress
) -> Iterator[tuple[Backend, OnnxPart | None]]:
    """A backend on the graphs of a bundle on the CPU, and the graph of its text encoder, if any.

    Raises:
        BundleRefused: a latent model without its autoencoder.
        EngineRefused, GraphRefused, GraphsUnwritten, OnnxAbsent: see `opened`.
    """
    with ExitStack() as stack:
        graphs: dict[str, OnnxPart] = {}
        for part in parts_of(bundle):
            progress.began(part.name, f"tracing in {precision}")
            graphs[part.name] = stack.enter_context(opened(over_rows(part), precision))
        yield _backend(bundle, precision, graphs), graphs.get(TEXT_ENCODER)


def _backend(bundle: Bundle, precision: Precision, graphs: Mapping[str, OnnxPart]) -> Backend:
    codec = bundle.codec
    if DECODER in graphs:
        codec = PartCodec(codec, graphs[DECODER])
    denoisers: Sequence[OnnxPart] = [
        graph for name, graph in graphs.items() if name.startswith(DENOISER)
    ]
    return Backend(
        name="onnx",
        why="asked for by name",
        precision={Precision.FP32: "float32", Precision.FP16: "float16"}[precision],
        device=torch.device("cpu"),
        network=OnnxNetwork(denoisers),
        codec=codec,
        grouping=functools.partial(bucket_groups, buckets=(TOGETHER,)),
        facts={"library": f"onnxruntime {import_runtime().__version__}"},
    )
