"""The rows of DiMR's ablation tables as variations of one recipe.

Tables 2 and 3 of DiMR (arXiv:2406.09416) compare networks at 64 pixels; here a row is a change of
whatever DiMR recipe is given, so the same rows make the paper's networks from `dimr-m3r-64` and
the small ones from `ablation-32`. The base itself is the last row of table 2.
"""

from collections.abc import Callable, Mapping
from functools import partial

from model.specs.networks import (
    Cascade,
    ClassInput,
    ConvNeXtStage,
    DiMRSpec,
    DiTSpec,
    Features,
    Mlp,
    NetworkSpec,
    Norm,
    TimeInput,
    TransformerStage,
    UViTSpec,
)
from model.specs.recipe import Recipe
from model.specs.training import Loss
from model.study.rows import BaseRefused, Row


def _released(spec: DiMRSpec) -> DiMRSpec:
    return _changed(spec, norm=Norm.TD_RMSNORM)


def _full(spec: DiMRSpec) -> DiMRSpec:
    return _changed(spec, norm=Norm.TD_LAYERNORM)


def _uvit(spec: DiMRSpec, time: TimeInput) -> UViTSpec:
    low = spec.stages[0]
    assert isinstance(low, TransformerStage)
    return UViTSpec.model_validate(
        _image(spec)
        | {"dim": low.dim, "blocks": low.blocks + 2, "heads": low.heads}
        | {"patch": low.patch * low.pool, "time": time}
    )


def _dit(spec: DiMRSpec) -> DiTSpec:
    low = spec.stages[0]
    assert isinstance(low, TransformerStage)
    return DiTSpec.model_validate(
        _image(spec)
        | {"dim": low.dim, "blocks": low.blocks + 1, "heads": low.heads}
        | {"patch": low.patch * low.pool}
    )


def _adaln(spec: DiMRSpec) -> DiMRSpec:
    plain = _plain_mlp(spec)
    return _changed(plain, norm=Norm.LAYERNORM, time=TimeInput.ADALN_ZERO)


def _token(spec: DiMRSpec) -> DiMRSpec:
    return _changed(spec, norm=Norm.LAYERNORM, time=TimeInput.TOKEN)


def _plain_mlp(spec: DiMRSpec) -> DiMRSpec:
    stages = [stage.model_dump() | {"hidden": 4 * stage.dim} for stage in spec.stages]
    return _changed(spec, norm=Norm.TD_LAYERNORM, mlp=Mlp.GELU, stages=stages)


def _convnext(spec: DiMRSpec) -> DiMRSpec:
    low = spec.stages[0]
    stage = ConvNeXtStage(
        dim=low.dim,
        blocks=low.blocks,
        hidden=low.hidden,
        patch=low.patch,
        pool=low.pool,
        class_input=ClassInput.ADDED,
    )
    higher = [stage.model_dump() for stage in spec.stages[1:]]
    return _changed(spec, norm=Norm.TD_LAYERNORM, stages=[stage.model_dump(), *higher])


def _image(spec: DiMRSpec) -> dict[str, object]:
    return {"size": spec.size, "channels": spec.channels, "classes": spec.classes}


def _changed(spec: DiMRSpec, **fields: object) -> DiMRSpec:
    """A spec with other fields, validated anew."""
    return DiMRSpec.model_validate(spec.model_dump() | fields)


def _dimr(base: Recipe) -> DiMRSpec:
    network = base.network
    if not isinstance(network, DiMRSpec) or not isinstance(network.stages[0], TransformerStage):
        msg = (
            f"base: got a network of kind {network.kind!r}; allowed: a DiMR whose lowest stage "
            f"is a Transformer"
        )
        raise BaseRefused(msg)
    return network


def _row(
    name: str,
    table: str,
    meaning: str,
    network: Callable[[DiMRSpec], NetworkSpec],
    loss: Loss = Loss.MULTI_SCALE,
    seed: int = 0,
) -> Row:
    """A row that changes the network and the loss."""

    def change(base: Recipe) -> Recipe:
        training = base.training.model_copy(update={"loss": loss})
        return base.model_copy(update={"network": network(_dimr(base)), "training": training})

    return Row(name, table, meaning, change, seed)


def _with(field: str, value: Cascade | Features) -> Callable[[DiMRSpec], DiMRSpec]:
    return lambda spec: _changed(_full(spec), **{field: value})


_TABLE_2, _TABLE_3, _BESIDE = "table 2", "table 3", "no table"

ROWS: Mapping[str, Row] = {
    row.name: row
    for row in (
        _row("uvit", _TABLE_2, "U-ViT, time as a token", partial(_uvit, time=TimeInput.TOKEN)),
        _row(
            "uvit-adaln", _TABLE_2, "U-ViT, AdaLN-Zero", partial(_uvit, time=TimeInput.ADALN_ZERO)
        ),
        _row("adaln", _TABLE_2, "+ multi-branch, AdaLN-Zero", _adaln, Loss.LAST),
        _row("td-ln", _TABLE_2, "TD-LN in place of AdaLN-Zero", _plain_mlp, Loss.LAST),
        _row("glu", _TABLE_2, "+ GLU", _full, Loss.LAST),
        _row("dimr", _TABLE_2, "+ multi-scale loss: DiMR", _full),
        _row("uvit-td-ln", _BESIDE, "TD-LN, one branch", partial(_uvit, time=TimeInput.NORM)),
        _row("dit", _BESIDE, "DiT", _dit),
        _row("convnext", _TABLE_3, "ConvNeXt branches only", _convnext),
        _row("concat", _TABLE_3, "cascade by concatenation", _with("cascade", Cascade.CONCAT)),
        _row("skips", _TABLE_3, "skips between branches", _with("cascade", Cascade.SKIPS)),
        _row("last", _BESIDE, "cascade of the last block only", _with("features", Features.LAST)),
        _row("time-token", _BESIDE, "time as a token, multi-branch", _token),
        _row("td-rmsnorm", _BESIDE, "TD-RMSNorm: the released form", _released),
        _row("dimr-seed-1", _BESIDE, "DiMR again, another seed", _full, seed=1),
        _row("dimr-seed-2", _BESIDE, "DiMR again, another seed", _full, seed=2),
    )
}
