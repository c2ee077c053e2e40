import pytest
import torch
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.diffusion.pyramid import Pyramid
from model.sampling.noise import MAX_SEED, initial_noise, initial_scales


def test_a_sample_depends_on_its_own_seed_alone():
    batch = initial_noise([7, 3, 11, 3], (4, 8, 8))
    for sample, seed in zip(batch, [7, 3, 11, 3], strict=True):
        assert_close(sample, initial_noise([seed], (4, 8, 8))[0], rtol=0, atol=0)


def test_different_seeds_draw_different_noise():
    first, second = initial_noise([0, 1], (64,))
    assert not torch.equal(first, second)


def test_noise_is_what_a_seeded_generator_draws():
    expected = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(1234))
    assert_close(initial_noise([1234], (3, 16, 16))[0], expected, rtol=0, atol=0)


def test_noise_is_standard_normal():
    noise = initial_noise(range(16), (4, 32, 32))
    assert noise.dtype == torch.float32
    assert abs(noise.mean()) < 0.02  # five standard errors of 65536 draws
    assert abs(noise.std() - 1) < 0.014


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    initial_noise([5], (10,))
    assert torch.equal(torch.get_rng_state(), before)


def test_the_whole_range_of_seeds_is_accepted():
    assert initial_noise([0, MAX_SEED], (2, 2)).shape == (2, 2, 2)


def test_no_seeds_give_an_empty_batch():
    assert initial_noise([], (3, 8, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1])
def test_a_seed_out_of_range_is_rejected(seed):
    with pytest.raises(ParameterRejected, match=f"seed: got {seed}; allowed: 0 to {MAX_SEED}"):
        initial_noise([0, seed], (2,))


def test_noise_of_one_scale_is_plain_noise():
    (noise,) = initial_scales([7, 3], 3, Pyramid((16,)))
    assert_close(noise, initial_noise([7, 3], (3, 16, 16)), rtol=0, atol=0)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_the_highest_scale_starts_as_it_would_alone_whatever_is_shared(shared):
    *_, high = initial_scales([7, 3], 3, Pyramid((4, 8, 16), shared=shared))
    assert_close(high, initial_noise([7, 3], (3, 16, 16)), rtol=0, atol=0)


def test_shared_noise_is_the_highest_scale_resampled():
    pyramid = Pyramid((4, 8, 16))
    scales = initial_scales([7], 3, pyramid)
    expected = pyramid.noise([torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8), scales[-1]])
    for noise, resampled in zip(scales, expected, strict=True):
        assert_close(noise, resampled, rtol=0, atol=0)


def test_what_scales_have_of_their_own_is_drawn_from_the_same_generator_low_to_high():
    low, middle, _ = initial_scales([7], 2, Pyramid((4, 8, 16), shared=0.0))
    generator = torch.Generator().manual_seed(7)
    draws = [torch.randn(1, 2, side, side, generator=generator) for side in (16, 4, 8)]
    assert_close(low, draws[1], rtol=0, atol=0)
    assert_close(middle, draws[2], rtol=0, atol=0)


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_every_scale_of_a_sample_depends_on_its_own_seed_alone(shared):
    pyramid = Pyramid((5, 16, 48), shared=shared)
    together = initial_scales([7, 3, 11], 3, pyramid)
    alone = initial_scales([3], 3, pyramid)
    for batch, sample in zip(together, alone, strict=True):
        assert_close(batch[1:2], sample, rtol=0, atol=0)


def test_no_seeds_give_empty_scales():
    shapes = [noise.shape for noise in initial_scales([], 3, Pyramid((4, 8)))]
    assert shapes == [(0, 3, 4, 4), (0, 3, 8, 8)]


def test_a_seed_out_of_range_is_rejected_at_all_scales_too():
    with pytest.raises(ParameterRejected, match="seed: got -1"):
        initial_scales([-1], 3, Pyramid((4, 8)))
