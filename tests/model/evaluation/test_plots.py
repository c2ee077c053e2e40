"""Plots as PNG bytes."""

import io
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from model.evaluation.errors import PackageMissing
from model.evaluation.plots import check_plotting, explained_variance, probability_histogram


def colours(content):
    """The colours of a picture, by how many of its pixels have them."""
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    found, counts = np.unique(pixels, axis=0, return_counts=True)
    return {tuple(colour): count for colour, count in zip(found.tolist(), counts, strict=True)}


def test_a_histogram_shows_bars_and_the_threshold():
    shown = colours(probability_histogram(np.linspace(0, 1, 100), 0.3))
    assert shown[0x44, 0x77, 0xAA] > 1000
    assert shown[0xCC, 0x33, 0x11] > 100


def test_a_plot_of_components_shows_mean_and_least():
    cumulative = torch.tensor([[0.9, 0.95, 1.0], [0.6, 0.8, 1.0]])
    shown = colours(explained_variance(cumulative, "a title"))
    assert shown[0x44, 0x77, 0xAA] > 100
    assert shown[0xCC, 0x33, 0x11] > 100


def test_without_matplotlib_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PackageMissing, match=r"matplotlib.*pip install 'dimr-serve\[evaluate\]'"):
        check_plotting()
