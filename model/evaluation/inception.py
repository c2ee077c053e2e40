"""The Inception network of FID, with weights that the user supplies.

The network is torch-fidelity's, which repeats TensorFlow's graph of 2015-12-05 to the last detail,
its resizing included. The weights are those converted for torch-fidelity and pytorch-fid
(`weights-inception-2015-12-05-6726825d.pth` or `pt_inception-2015-12-05-6726825d.pth`).
"""

import importlib
import importlib.util
import pickle
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.evaluation.errors import FileRefused, PackageMissing

POOL, CLASSES = 2048, 1008
SPATIAL_CHANNELS = 7
SPATIAL = 17 * 17 * SPATIAL_CHANNELS

_PACKAGE = "torch_fidelity"
# What reading a file as something that it is not can end in, besides errors of the disk.
_UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError)
_POOL_NAME, _LOGITS_NAME = "2048", "logits_unbiased"


class Features(NamedTuple):
    """What Inception says of N pictures, float32 on the CPU.

    Attributes:
        pool: (N, 2048) last pooling, for FID, precision and recall.
        spatial: (N, 2023) first 7 channels of mixed_6/conv (17 x 17, channels last), for sFID.
        logits: (N, 1008) without bias, for the Inception Score.
    """

    pool: Tensor
    spatial: Tensor
    logits: Tensor


Extractor = Callable[[Tensor], Features]
"""Pictures uint8 (B, 3, H, W) to their features."""


class Inception:
    """An `Extractor`: exactly the three outputs that ADM's evaluation suite takes."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network = network.to(device)
        self._device = device

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Features:
        """Features of pictures uint8 (B, 3, H, W) of any size."""
        spatial: list[Tensor] = []
        # TensorFlow's mixed_6/conv is the first branch of what torchvision calls Mixed_6d.
        hook = self._network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(
            lambda module, given, made: spatial.append(made[:, :SPATIAL_CHANNELS])
        )
        try:
            with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
                pool, logits = self._network(images.to(self._device))
        finally:
            hook.remove()
        # The suite's statistics are of channels-last features, so their order matters.
        return Features(
            pool.float().cpu(), spatial[0].movedim(1, -1).flatten(1).cpu(), logits.float().cpu()
        )


def load_inception(weights: Path, device: torch.device) -> Inception:
    """Build the network and load its weights, safely: nothing in the file is executed.

    Raises:
        FileRefused: the file does not hold these weights.
        PackageMissing: torch-fidelity is not installed.
    """
    if not weights.is_file():
        msg = f"{weights}: no such file; allowed: {_ALLOWED}"
        raise FileRefused(msg)
    try:
        torch.load(weights, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        msg = f"{weights}: holds more or less than tensors by name; allowed: {_ALLOWED}"
        raise FileRefused(msg) from error
    with extractors() as module:
        try:
            # It unpickles without restraint, of what has just been found to be tensors only.
            network = module.FeatureExtractorInceptionV3(
                "inception-v3-compat",
                [_POOL_NAME, _LOGITS_NAME],
                feature_extractor_weights_path=str(weights),
            )
        except (RuntimeError, TypeError, AttributeError) as error:
            detail = " ".join(str(error).split())
            msg = f"{weights}: {detail[:200]}...; allowed: {_ALLOWED}"
            raise FileRefused(msg) from error
    return Inception(network, device)


@contextmanager
def extractors() -> Iterator[ModuleType]:
    """torch-fidelity's module of the Inception network, without the rest of the package.

    The package as a whole imports torchvision, of which the network needs nothing and which exists
    for some builds of PyTorch only. So a bare package stands in for it while the module is loaded.

    Raises:
        PackageMissing: torch-fidelity is not installed.
    """
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        package, purpose = "torch-fidelity", "the Inception network"
        raise PackageMissing(package, purpose)
    whole = sys.modules.get(_PACKAGE)
    if whole is None:
        bare = ModuleType(_PACKAGE)
        bare.__path__ = list(spec.submodule_search_locations)
        sys.modules[_PACKAGE] = bare
    try:
        yield importlib.import_module(f"{_PACKAGE}.feature_extractor_inceptionv3")
    finally:
        if whole is None:
            del sys.modules[_PACKAGE]


_ALLOWED = (
    "the FID Inception weights for PyTorch as torch-fidelity and pytorch-fid publish them "
    "(inception-2015-12-05-6726825d.pth)"
)
