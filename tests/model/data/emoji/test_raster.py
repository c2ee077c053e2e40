import numpy as np
import pytest

from model.data.emoji.icons import IconSet
from model.data.emoji.raster import rasterise
from model.data.errors import IconUnusable


def svg(body: str, *, side: int = 8) -> str:
    return IconSet({"width": side, "height": side, "icons": {"a": {"body": body}}}).svg("a")


def test_what_is_not_drawn_is_white() -> None:
    tile = rasterise("half", svg('<path fill="#102030" d="M0 0h4v8H0z"/>'), 16)
    assert tile.shape == (16, 16, 3)
    assert tile.dtype == np.uint8
    assert (tile[:, :8] == (16, 32, 48)).all()
    assert (tile[:, 8:] == 255).all()


def test_a_translucent_colour_is_mixed_with_white() -> None:
    tile = rasterise("veil", svg('<path fill="#000" opacity=".5" d="M0 0h8v8H0z"/>'), 16)
    assert set(np.unique(tile)) <= {127, 128}


def test_an_edge_inside_a_pixel_is_averaged() -> None:
    tile = rasterise("edge", svg('<path fill="#000" d="M0 0h3.5v8H0z"/>'), 16)
    assert (tile[:, 6] == 0).all()
    assert (tile[:, 7] == 255).all()
    halved = rasterise("edge", svg('<path fill="#000" d="M0 0h3.5v8H0z"/>', side=16), 16)
    assert set(np.unique(halved[:8, 3])) <= {127, 128}


@pytest.mark.parametrize(
    ("markup", "reason"),
    [("<svg", "the renderer says"), (svg(""), "it draws nothing")],
)
def test_markup_that_gives_no_picture_names_the_icon(markup: str, reason: str) -> None:
    with pytest.raises(IconUnusable, match=f"'odd' cannot be used: {reason}"):
        rasterise("odd", markup, 16)
