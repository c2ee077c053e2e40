"""The block that a stage of a DiMR is made of."""

from torch import nn

from model.layers.adaln import AdaLNZero, ModulatedNorm
from model.layers.blocks import (
    Attention,
    ConvNeXtBlock,
    GatedMLP,
    ModulatedConvNeXtBlock,
    ModulatedTransformerBlock,
    PlainMLP,
    TransformerBlock,
    depthwise,
)
from model.layers.norm import LAYER_NORM_EPS, block_norm
from model.specs.networks import (
    AnyStage,
    ConvNeXtStage,
    DiMRSpec,
    Mlp,
    TimeInput,
    TransformerStage,
)


def build_block(stage: AnyStage, model: DiMRSpec) -> nn.Module:
    """One freshly made block of a stage."""
    modulated = model.time is TimeInput.ADALN_ZERO
    match stage:
        case TransformerStage():
            attention = Attention(stage.dim, stage.heads, _norm(stage, model))
            mlp = _mlp(stage, model)
            if modulated:
                return ModulatedTransformerBlock(attention, mlp, AdaLNZero(stage.dim))
            return TransformerBlock(attention, mlp)
        case ConvNeXtStage():
            convolution = depthwise(stage.dim, stage.kernel)
            mlp = _mlp(stage, model)
            if modulated:
                norm, modulation = _modulated_norm(stage.dim), AdaLNZero(stage.dim)
                return ModulatedConvNeXtBlock(norm, convolution, mlp, modulation)
            return ConvNeXtBlock(convolution, mlp)


def _mlp(stage: AnyStage, model: DiMRSpec) -> nn.Module:
    norm = _norm(stage, model)
    match model.mlp:
        case Mlp.GEGLU:
            return GatedMLP(stage.dim, stage.hidden, norm)
        case Mlp.GELU:
            return PlainMLP(stage.dim, stage.hidden, norm)


def _norm(stage: AnyStage, model: DiMRSpec) -> nn.Module:
    if model.time is TimeInput.ADALN_ZERO:
        return _modulated_norm(stage.dim)
    return block_norm(model.norm, stage.dim)


def _modulated_norm(dim: int) -> ModulatedNorm:
    return ModulatedNorm(nn.LayerNorm(dim, LAYER_NORM_EPS, elementwise_affine=False))
