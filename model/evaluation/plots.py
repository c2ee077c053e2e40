"""Plots as PNG bytes, by matplotlib, which is imported when the first one is drawn."""

import io
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike
from torch import Tensor

from model.evaluation.errors import PackageMissing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BINS = 50


def probability_histogram(probabilities: ArrayLike, threshold: float) -> bytes:
    """How many images get which probability of their class, with the threshold; log counts.

    Raises:
        PackageMissing: matplotlib is not installed.
    """
    figure, axes = new_figure()
    axes.hist(probabilities, bins=BINS, range=(0, 1), color="#4477aa", log=True)
    axes.axvline(threshold, color="#cc3311", label=f"threshold {threshold:g}")
    axes.set(xlabel="probability of the intended class", ylabel="images", xlim=(0, 1))
    axes.legend()
    return png(figure)


def explained_variance(cumulative: Tensor, title: str) -> bytes:
    """Share of variance that the first principal components explain.

    Args:
        cumulative: (P, K) of P parameters, each drawn faintly, their mean and least boldly.
        title: what they are parameters of.

    Raises:
        PackageMissing: matplotlib is not installed.
    """
    figure, axes = new_figure()
    components = range(1, cumulative.shape[1] + 1)
    for row in cumulative.tolist():
        axes.plot(components, row, color="#4477aa", alpha=0.15, linewidth=0.8)
    axes.plot(
        components, cumulative.mean(dim=0).tolist(), color="#4477aa", marker="o", label="mean"
    )
    least = cumulative.amin(dim=0).tolist()
    axes.plot(components, least, color="#cc3311", marker="v", label="least")
    axes.set(
        xlabel="principal components",
        ylabel="explained variance, cumulative",
        ylim=(min(0.5, *least), 1.01),
        title=title,
    )
    axes.set_xticks(list(components))
    axes.grid(visible=True, alpha=0.3)
    axes.legend(loc="lower right")
    return png(figure)


def check_plotting() -> None:
    """Refuse before the work what could not be drawn after it.

    Raises:
        PackageMissing: matplotlib is not installed.
    """
    new_figure()


def new_figure() -> "tuple[Figure, Axes]":
    """A figure of its own: no window, no state shared with any other.

    Raises:
        PackageMissing: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        package, purpose = "matplotlib", "a plot"
        raise PackageMissing(package, purpose) from error
    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    return figure, figure.subplots()


def png(figure: "Figure") -> bytes:
    """The bytes of a PNG file."""
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
