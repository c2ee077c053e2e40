"""Architectures of denoisers as data: DiMR with its ablations, and the baselines U-ViT and DiT.

The defaults of a DiMR are the authors' released form; every other value of `norm`, `mlp`, `time`,
`cascade` and `features` is an ablation of the paper (arXiv:2406.09416, tables 2 and 3).
"""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from model.specs.base import Spec
from model.specs.layered import LayeredSpec


class Norm(StrEnum):
    """The norm inside every attention and MLP of a DiMR.

    The cascade and the heads have a LayerNorm, time-dependent (TD-LN) where time enters by norms.
    """

    TD_RMSNORM = "td-rmsnorm"  # scale depends on time, mean kept: the released checkpoints
    TD_LAYERNORM = "td-layernorm"  # scale and shift depend on time: the paper's text
    RMSNORM = "rmsnorm"  # one static scale
    LAYERNORM = "layernorm"  # static scale and shift


class Mlp(StrEnum):
    """The MLP of every block."""

    GEGLU = "geglu"  # gated, two inner projections of `hidden` each
    GELU = "gelu"  # plain, one inner projection of `hidden`


class TimeInput(StrEnum):
    """How a network learns the diffusion time.

    The token is a sinusoid without an MLP, as in U-ViT; ConvNeXt stages learn it by the cascade.
    AdaLN-Zero acts on a LayerNorm without affine part, in ConvNeXt blocks before the convolution
    too; stages share one embedding of the widest stage's width, of which a narrower one reads its
    own width of channels.
    """

    NORM = "norm"  # through its time-dependent norms
    TOKEN = "token"  # a token beside the class's (U-ViT)
    ADALN_ZERO = "adaln-zero"  # shift, scale and gate of every block (DiT)


class Cascade(StrEnum):
    """How a stage takes in the features of the one below, once lifted to its grid and width."""

    ADD = "add"  # added to its own patches
    CONCAT = "concat"  # concatenated with them, then projected
    SKIPS = "skips"  # added, and joined to the long skip of every out-block


class Features(StrEnum):
    """What a stage hands to the next one."""

    ALL = "all"  # the input of its first block and the output of every block
    LAST = "last"  # the output of its last block: the paper's text


class ClassInput(StrEnum):
    """How a ConvNeXt stage learns the class."""

    NONE = "none"  # through the cascade, if at all
    ADDED = "added"  # an embedding added to every cell: for a network without Transformer


class StageSpec(Spec):
    """What both kinds of stage have in common.

    The stage sees the image average-pooled `pool`-fold and cut into `patch` x `patch` patches, so
    its grid has size / (pool * patch) cells a side.
    """

    dim: PositiveInt
    blocks: PositiveInt = Field(description="odd: in-blocks, one middle block, out-blocks")
    hidden: PositiveInt = Field(description="inner width of the MLP; paper: 2 dim, plain 4 dim")
    patch: PositiveInt = 1
    pool: PositiveInt = 1

    @model_validator(mode="after")
    def _blocks_are_odd(self) -> Self:
        if self.blocks % 2 == 0:
            msg = (
                f"blocks: got {self.blocks}; allowed: an odd number, since a stage is U-shaped "
                f"(the authors' code rounds {self.blocks} up to {self.blocks + 1})"
            )
            raise ValueError(msg)
        return self


class TransformerStage(StageSpec):
    """Self-attention over the grid and one class token."""

    kind: Literal["transformer"] = "transformer"
    heads: PositiveInt

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.heads:
            msg = f"heads: got {self.heads}; allowed: a divisor of dim = {self.dim}"
            raise ValueError(msg)
        return self


class ConvNeXtStage(StageSpec):
    """Depthwise convolutions over the grid."""

    kind: Literal["convnext"] = "convnext"
    kernel: PositiveInt = 7
    class_input: ClassInput = ClassInput.NONE

    @model_validator(mode="after")
    def _kernel_is_odd(self) -> Self:
        if self.kernel % 2 == 0:
            msg = f"kernel: got {self.kernel}; allowed: an odd number, which keeps the grid's size"
            raise ValueError(msg)
        return self


AnyStage = Annotated[TransformerStage | ConvNeXtStage, Field(discriminator="kind")]


class DenoiserSpec(Spec):
    """What every denoiser has.

    `size` and `channels` describe the tensor that is denoised (a latent, or an image), `classes`
    counts the real classes; index `classes` is the null class of classifier-free guidance.
    """

    size: PositiveInt
    channels: PositiveInt
    classes: PositiveInt

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the tensors that are denoised: one."""
        return (self.size,)


class DiMRSpec(DenoiserSpec):
    """A DiMR (arXiv:2406.09416): stages from the lowest to the highest resolution."""

    kind: Literal["dimr"] = "dimr"
    norm: Norm = Norm.TD_RMSNORM
    mlp: Mlp = Mlp.GEGLU
    time: TimeInput = TimeInput.NORM
    cascade: Cascade = Cascade.ADD
    features: Features = Features.ALL
    stages: tuple[AnyStage, ...] = Field(min_length=1)

    @property
    def grids(self) -> tuple[int, ...]:
        """Cells a side of each stage."""
        return tuple(self.size // (stage.pool * stage.patch) for stage in self.stages)

    @property
    def handed_widths(self) -> tuple[int, ...]:
        """Channels that each stage hands to the next one."""
        match self.features:
            case Features.ALL:
                return tuple(stage.dim * (stage.blocks + 1) for stage in self.stages)
            case Features.LAST:
                return tuple(stage.dim for stage in self.stages)

    @model_validator(mode="after")
    def _stages_fit_the_image_and_each_other(self) -> Self:
        for index, stage in enumerate(self.stages):
            if self.size % (stage.pool * stage.patch):
                msg = (
                    f"stages[{index}]: pool * patch = {stage.pool * stage.patch}; "
                    f"allowed: a divisor of size = {self.size}"
                )
                raise ValueError(msg)
        for index, (low, high) in enumerate(zip(self.grids, self.grids[1:], strict=False), 1):
            if high % low:
                msg = (
                    f"stages[{index}]: a grid of {high} does not follow one of {low}; "
                    f"allowed: a multiple, stages go from low to high resolution"
                )
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _time_has_one_way_in(self) -> Self:
        match self.time:
            case TimeInput.NORM:
                return self
            case TimeInput.TOKEN:
                allowed: tuple[Norm, ...] = (Norm.RMSNORM, Norm.LAYERNORM)
            case TimeInput.ADALN_ZERO:
                allowed = (Norm.LAYERNORM,)
        if self.norm not in allowed:
            names = " or ".join(repr(norm.value) for norm in allowed)
            msg = f"norm: got {self.norm.value!r} with time = {self.time.value!r}; allowed: {names}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _every_stage_learns_the_time(self) -> Self:
        if self.time is TimeInput.TOKEN and not isinstance(self.stages[0], TransformerStage):
            msg = (
                "stages[0]: got 'convnext' with time = 'token'; allowed: 'transformer', as tokens "
                "enter there and nowhere below"
            )
            raise ValueError(msg)
        return self


class PlainTransformerSpec(DenoiserSpec):
    """What the single-scale baselines have in common: one Transformer over patches."""

    dim: PositiveInt
    blocks: PositiveInt
    heads: PositiveInt
    patch: PositiveInt

    @model_validator(mode="after")
    def _sizes_divide(self) -> Self:
        if self.dim % self.heads:
            msg = f"heads: got {self.heads}; allowed: a divisor of dim = {self.dim}"
            raise ValueError(msg)
        if self.size % self.patch:
            msg = f"patch: got {self.patch}; allowed: a divisor of size = {self.size}"
            raise ValueError(msg)
        return self


class UViTSpec(PlainTransformerSpec):
    """A U-ViT (Bao et al. 2023, arXiv:2209.12152): long skips, and class and time as tokens.

    The published networks for one thousand classes that know no null class (U-ViT-M/4 on 64 x 64
    ImageNet) have a thousand class tokens, that is classes = 999 here. With `time` "norm" every
    norm is a TD-LN: DiMR's norm without its branches.
    """

    kind: Literal["uvit"] = "uvit"
    time: TimeInput = TimeInput.TOKEN

    @model_validator(mode="after")
    def _blocks_are_odd(self) -> Self:
        if self.blocks % 2 == 0:
            msg = f"blocks: got {self.blocks}; allowed: an odd number, as a U-ViT is U-shaped"
            raise ValueError(msg)
        return self


class DiTSpec(PlainTransformerSpec):
    """A DiT (Peebles & Xie 2023, arXiv:2212.09748): time and class by AdaLN-Zero."""

    kind: Literal["dit"] = "dit"

    @model_validator(mode="after")
    def _positions_fill_the_width(self) -> Self:
        if self.dim % 4:
            msg = (
                f"dim: got {self.dim}; allowed: a multiple of 4, as positions are sines and "
                f"cosines of two coordinates"
            )
            raise ValueError(msg)
        return self


ClassSpec = DiMRSpec | UViTSpec | DiTSpec
"""Networks that draw a class; a layered one draws what a text says."""

NetworkSpec = Annotated[ClassSpec | LayeredSpec, Field(discriminator="kind")]
