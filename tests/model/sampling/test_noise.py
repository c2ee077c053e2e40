import pytest
import torch
from torch.testing import assert_close

from model.diffusion.errors import ParameterRejected
from model.sampling.noise import MAX_SEED, initial_noise


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
