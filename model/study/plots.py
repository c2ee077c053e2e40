"""Plots of a study as PNG bytes."""

import math
from collections.abc import Mapping, Sequence

from model.evaluation.plots import new_figure, png
from model.study.results import Result, Study

_COLOURS = ("#4477aa", "#228833", "#ccbb44")  # of the highest scale first
_HIGHEST = math.inf

COST_NAME, SCALES_NAME = "distance-by-cost.png", "accuracy-by-scale.png"


def plots(study: Study) -> Mapping[str, bytes]:
    """All plots of a study by the names of their files.

    Raises:
        PackageMissing: matplotlib is not installed.
    """
    return {COST_NAME: distance_by_cost(study), SCALES_NAME: accuracy_by_scale(study)}


def distance_by_cost(study: Study) -> bytes:
    """Small-feature Fréchet distance of each row against the multiply-adds of a network call."""
    figure, axes = new_figure()
    costs = [result.macs / 1e6 for result in study.results]
    distances = [result.small_feature_frechet for result in study.results]
    axes.plot(costs, distances, "o", color=_COLOURS[0])
    beside = max(costs) + 0.05 * (max(costs) - min(costs) or max(costs))
    names = [result.row for result in study.results]
    heights = _apart(distances, 0.05 * (max(distances) - min(distances)))
    line = {"arrowstyle": "-", "linewidth": 0.4, "alpha": 0.5}
    for name, point, height in zip(names, zip(costs, distances, strict=True), heights, strict=True):
        axes.annotate(
            name, point, xytext=(beside, height), fontsize=7, arrowprops=line, va="center"
        )
    axes.set(
        xlabel="million multiply-adds of a network call, one image",
        ylabel="small-feature Fréchet distance",
        title=f"{study.base}: lower left is better",
    )
    axes.margins(0.2)
    axes.grid(visible=True, alpha=0.3)
    return png(figure)


def accuracy_by_scale(study: Study) -> bytes:
    """How often the judges take samples for what was asked for, at each size of each row."""
    figure, axes = new_figure()
    by_row = [_accuracies(result) for result in study.results]
    scales = sorted({scale for found in by_row for scale in found})
    height = 0.8 / len(scales)
    for index, scale in enumerate(scales):
        places = [row + index * height for row in range(len(by_row))]
        shares = [100 * found.get(scale, 0.0) for found in by_row]
        colour = _COLOURS[(len(scales) - 1 - index) % len(_COLOURS)]
        name = "highest scale" if scale == _HIGHEST else f"{scale:.0f} pixels"
        axes.barh(places, shares, height, color=colour, label=name)
    names = [result.row for result in study.results]
    axes.set_yticks([row + 0.4 - height / 2 for row in range(len(names))], names, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="samples taken for what was asked for, per cent", xlim=(0, 100))
    axes.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=len(scales))
    return png(figure)


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Near these values, in their order, but no two closer than a gap."""
    placed = list(values)
    least = -math.inf
    for index in sorted(range(len(values)), key=values.__getitem__):
        least = max(values[index], least + gap)
        placed[index] = least
    return placed


def _accuracies(result: Result) -> Mapping[float, float]:
    """Accuracy by the side of the scale, infinity for the highest, which all rows have."""
    lower = {float(scale.side): scale.class_accuracy for scale in result.lower}
    return lower | {_HIGHEST: result.class_accuracy}
