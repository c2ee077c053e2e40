"""The Inception network of FID."""

import sys

import pytest
import torch
from torch.testing import assert_close

from model.evaluation.errors import FileRefused, PackageMissing
from model.evaluation.inception import extractors, load_inception

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 24, 24), dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module")
def network(inception_weights):
    """The foreign network by itself, telling what ADM's suite asks of it and its input layer."""
    with extractors() as module:
        return module.FeatureExtractorInceptionV3(
            "", ["2048", "logits_unbiased"], feature_extractor_weights_path=inception_weights
        )


@pytest.fixture(scope="module")
def found(inception_weights, images):
    return load_inception(inception_weights, CPU)(images)


def test_pool_and_logits_are_the_foreign_networks(found, network, images):
    pool, logits = network(images)
    assert_close(found.pool, pool)
    assert_close(found.logits, logits)
    assert_close(logits, pool @ network.fc.weight.T)
    assert pool.std(dim=0).max() > 1e-3  # the two pictures differ in it


def test_spatial_features_are_seven_channels_of_the_fourth_17_by_17_block(found, network, images):
    seen: list[torch.Tensor] = []
    network.Mixed_6c.register_forward_hook(lambda module, given, made: seen.append(made))
    network(images)
    expected = network.Mixed_6d.branch1x1(seen[-1])  # mixed_6/conv of TensorFlow's graph
    assert found.spatial.shape == (2, 2023)
    channels_last = found.spatial.view(2, 17, 17, 7)
    for channel in range(7):
        assert_close(channels_last[..., channel], expected[:, channel])
    assert expected.std() > 1e-3


def test_looking_at_pictures_leaves_no_hook_behind(inception_weights, images):
    inception = load_inception(inception_weights, CPU)
    assert_close(inception(images[:1]).spatial, inception(images).spatial[:1])


@pytest.mark.parametrize(
    "content", [b"hello", {}, {"fc.weight": torch.zeros(3)}, torch.zeros(3), {"x": CPU}]
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(FileRefused, match=r"weights\.pth: .*allowed: the FID Inception weights"):
        load_inception(path, CPU)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(FileRefused, match="no such file"):
        load_inception(tmp_path / "weights.pth", CPU)


def test_a_file_that_runs_code_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (tmp_path.joinpath("sprung").touch, ())

    torch.save({"x": Trap()}, tmp_path / "weights.pth")
    with pytest.raises(FileRefused):
        load_inception(tmp_path / "weights.pth", CPU)
    assert not (tmp_path / "sprung").exists()


def test_the_network_comes_without_the_rest_of_its_package(monkeypatch):
    for name in [n for n in sys.modules if n.startswith(("torch_fidelity", "torchvision"))]:
        monkeypatch.delitem(sys.modules, name)
    with extractors() as module:
        assert module.FeatureExtractorInceptionV3.INPUT_IMAGE_SIZE == 299
    assert "torchvision" not in sys.modules
    assert "torch_fidelity" not in sys.modules


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with (
        pytest.raises(PackageMissing, match=r"torch-fidelity.*pip install 'dimr-serve\[eval"),
        extractors(),
    ):
        pass
