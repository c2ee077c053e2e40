"""What became of norms and attentions in an engine, read from the build's own layer dump.

A build that is asked for detailed profiling prints, after a line `Layers:`, one line for each layer
of the engine. Kernel names say little: they are undocumented and end in `Etc` when long. What a
layer was made of is said by its metadata, a list of the ONNX nodes in it, and a node inside a
model-local function is listed with the call that it came from:

    Name: __myl_CastMulMeanSqrt..., LayerType: kgen, ..., Metadata: [ONNX Layer: unit | norm_3 (F)]

So a TD norm, which is one call of a function in our graphs, is tied to the layers that list a node
of that call. It is in **one kernel** when exactly one layer does, in every optimisation profile,
not counting layers that list only nodes which do not depend on the normalised tensor (its gates:
values per sample and channel). More than one layer is a **split**; a norm that no layer lists is
counted as split too, since nothing shows what became of it. An attention is **fused** when a
multi-head attention kernel, the only kind of layer known by its name, lists its node.

The kernels of each profile are dumped separately: tensors of profile N > 0 carry `[profile N]`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.graph.nodes import DOMAIN, NODE_TYPES

if TYPE_CHECKING:
    import onnx

_ATTENTIONS = ("Attention", "Softmax")  # one node at opset 23, MatMul-Softmax-MatMul before
_ATTENTION_KERNEL = "mha"

_LAYER = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+),(?P<rest>.*)$", re.MULTILINE)
_METADATA = re.compile(r"\[ONNX Layer: ([^\]]*)\]")
_PROFILE = re.compile(r"\[profile (\d+)\]")
_SUBGRAPH = re.compile(r"_myl(\d+)_\d+$")


class DumpUnreadable(ValueError):
    """A build printed no layers that can be read, so nothing is known of what it fused."""

    def __init__(self, found: str) -> None:
        super().__init__(
            f"the build printed {found}, so what it fused is not known; this report reads the dump "
            "of tensorrt-rtx 1.7 (a line 'Layers:', then 'Name: ..., LayerType: ...')"
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of an engine.

    Attributes:
        name: the library's own.
        kind: its type, such as kgen, gemm or correlation.
        nodes: the ONNX nodes in it.
        profile: the optimisation profile that it belongs to.
    """

    name: str
    kind: str
    nodes: tuple[str, ...]
    profile: int


@dataclass(frozen=True, slots=True)
class NormCall:
    """One TD norm of a graph.

    Attributes:
        name: of the node that calls the function.
        function: what it calls.
        gates: nodes of the function that do not depend on the normalised tensor.
    """

    name: str
    function: str
    gates: frozenset[str]


@dataclass(frozen=True, slots=True)
class FusionReport:
    """What an engine made of a graph.

    Attributes:
        td_norms: TD norms in the graph.
        split: names of those that are not in one kernel, with the most layers that any profile has
            for them, 0 where none was seen.
        attentions: attentions in the graph.
        unfused: names of those in no attention kernel.
        layers: for each profile, how many layers of each type.
    """

    td_norms: int
    split: Mapping[str, int]
    attentions: int
    unfused: tuple[str, ...]
    layers: tuple[Mapping[str, int], ...]

    @property
    def td_norms_single_kernel(self) -> int:
        """TD norms in one kernel, in every profile."""
        return self.td_norms - len(self.split)

    @property
    def attentions_fused(self) -> int:
        """Attentions that are one kernel, in every profile."""
        return self.attentions - len(self.unfused)

    def document(self) -> dict[str, Any]:
        """The report as JSON has it."""
        return {
            "td_norms": self.td_norms,
            "td_norms_single_kernel": self.td_norms_single_kernel,
            "td_norms_split": dict(self.split),
            "attentions": self.attentions,
            "attentions_fused": self.attentions_fused,
            "attentions_unfused": list(self.unfused),
            "layers": [dict(sorted(counts.items())) for counts in self.layers],
        }


def fusion_report(
    model: "onnx.ModelProto", records: Iterable[str], *, profiles: int = 1
) -> FusionReport:
    """Compare a graph with what a build printed about its engine.

    Args:
        model: the graph that was built; its nodes are named.
        records: what the build logged, in order; a record may have many lines.
        profiles: optimisation profiles that were asked for.

    Raises:
        DumpUnreadable: there is no layer in it, or none of some profile.
    """
    layers = parse_layers(records)
    by_profile = [[layer for layer in layers if layer.profile == k] for k in range(profiles)]
    if not all(by_profile) or {layer.profile for layer in layers} - set(range(profiles)):
        seen = sorted({layer.profile for layer in layers})
        found = f"layers of profiles {', '.join(map(str, seen))} where there are {profiles}"
        raise DumpUnreadable(found)
    norms, attentions = norm_calls(model), attention_names(model)
    kernels = {norm.name: [_kernels(norm, listed) for listed in by_profile] for norm in norms}
    return FusionReport(
        td_norms=len(norms),
        split={name: min(n) and max(n) for name, n in kernels.items() if set(n) != {1}},
        attentions=len(attentions),
        unfused=tuple(
            name
            for name in attentions
            if not all(_in_attention_kernel(name, listed) for listed in by_profile)
        ),
        layers=tuple(Counter(layer.kind for layer in listed) for listed in by_profile),
    )


def parse_layers(records: Iterable[str]) -> Sequence[Layer]:
    """Read the layers of an engine from what its build logged.

    Raises:
        DumpUnreadable: there is none.
    """
    dump = re.split(r"^.*\bLayers:[ \t]*$", "\n".join(records), flags=re.MULTILINE)
    found = [] if len(dump) == 1 else list(_LAYER.finditer(dump[-1]))
    if not found:
        none = "no layers"
        raise DumpUnreadable(none)
    profile_of: dict[str, int] = {}
    for match in found:
        place = _place(match["name"])
        seen = [int(number) for number in _PROFILE.findall(match[0])]
        profile_of[place] = max([profile_of.get(place, 0), *seen])
    return [
        Layer(
            name=match["name"],
            kind=match["kind"],
            nodes=tuple(_METADATA.findall(match["rest"].rpartition("Metadata:")[2])),
            profile=profile_of[_place(match["name"])],
        )
        for match in found
    ]


def norm_calls(model: "onnx.ModelProto") -> Sequence[NormCall]:
    """The TD norms of a graph."""
    gates = {
        function.name: _gates(function) for function in model.functions if function.domain == DOMAIN
    }
    return [
        NormCall(node.name, node.op_type, gates.get(node.op_type, frozenset()))
        for node in model.graph.node
        if node.domain == DOMAIN and node.op_type in NODE_TYPES
    ]


def attention_names(model: "onnx.ModelProto") -> Sequence[str]:
    """The attentions of a graph, by the name of the node that tells each."""
    return [node.name for node in model.graph.node if node.op_type in _ATTENTIONS]


def _gates(function: "onnx.FunctionProto") -> frozenset[str]:
    """Names of a function's nodes that its first input, the normalised tensor, does not reach."""
    reached = set(function.input[:1])
    apart: set[str] = set()
    for node in function.node:
        if reached & set(node.input):
            reached |= set(node.output)
        else:
            # A node without a name is listed by its output.
            apart |= {node.name} if node.name else {f"node_of_{out}" for out in node.output}
    return frozenset(apart)


def _place(name: str) -> str:
    """What a layer shares with the others of its compiled subgraph; itself where it is in none."""
    match = _SUBGRAPH.search(name)
    return name if match is None else match[1]


def _kernels(norm: NormCall, layers: Sequence[Layer]) -> int:
    """Layers that work on the rows of a norm."""
    return sum(any(_is_of(norm, node) for node in layer.nodes) for layer in layers)


def _is_of(norm: NormCall, node: str) -> bool:
    """Whether a listed node is this norm, or one inside it that works on its rows."""
    inner, *outer = node.split(" | ")
    if not outer:
        return inner == norm.name
    return f"{norm.name} ({norm.function})" in outer and inner not in norm.gates


def _in_attention_kernel(name: str, layers: Sequence[Layer]) -> bool:
    return any(name in layer.nodes and _ATTENTION_KERNEL in layer.name for layer in layers)
