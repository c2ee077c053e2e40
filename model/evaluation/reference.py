"""What samples are compared with: real images, their features, or ADM's statistics of them."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from model.evaluation.archive import IMAGES, array_names, read_array
from model.evaluation.errors import FileRefused
from model.evaluation.features import FeatureCache
from model.evaluation.inception import POOL, SPATIAL
from model.evaluation.measures import Gaussian
from model.files import file_sha256

STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")


class Reference(NamedTuple):
    """Real images as far as they are known.

    Attributes:
        pool: distribution of the pooled features, for FID.
        spatial: that of the spatial features, for sFID.
        features: (M, 2048) pooled features; None where only statistics are known.
    """

    pool: Gaussian
    spatial: Gaussian
    features: Tensor | None


def read_reference(path: Path, cache: FeatureCache) -> Reference:
    """Read an .npz of images (`arr_0`), of features, or of ADM's statistics.

    ADM's reference batches hold statistics of all images and a part of the images themselves; as in
    its suite the former serve FID and sFID, the latter precision and recall.

    Raises:
        FileRefused: it is none of these.
    """
    names = array_names(path)
    if "mu" not in names:
        features = cache.features(path, file_sha256(path), part="reference")
        _require_two(path, len(features.pool))
        return Reference(Gaussian.of(features.pool), Gaussian.of(features.spatial), features.pool)
    missing = [name for name in STATISTICS if name not in names]
    if missing:
        msg = f"{path}: has mu but no {', '.join(missing)}; allowed: all of {', '.join(STATISTICS)}"
        raise FileRefused(msg)
    pool = _statistics(path, "mu", "sigma", POOL)
    spatial = _statistics(path, "mu_s", "sigma_s", SPATIAL)
    if IMAGES not in names:
        return Reference(pool, spatial, None)
    features = cache.features(path, file_sha256(path), part="reference")
    return Reference(pool, spatial, features.pool)


def _require_two(path: Path, count: int) -> None:
    if count < 2:
        msg = f"{path}: {count} image; allowed: at least 2"
        raise FileRefused(msg)


def _statistics(path: Path, mean: str, covariance: str, width: int) -> Gaussian:
    found = Gaussian(*(torch.from_numpy(read_array(path, n)).double() for n in (mean, covariance)))
    if found.mean.shape != (width,) or found.covariance.shape != (width, width):
        msg = (
            f"{path}: {mean}, {covariance}: got {tuple(found.mean.shape)}, "
            f"{tuple(found.covariance.shape)}; allowed: ({width},), ({width}, {width})"
        )
        raise FileRefused(msg)
    return found
