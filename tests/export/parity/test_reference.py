"""The reference: images of the sampler itself, and calls at spread times."""

import numpy as np
import torch

from export.parity.reference import request_of
from model.sampling.images import generate
from model.sampling.painter import to_levels


def test_images_are_those_that_the_sampler_makes(bundle, cases, reference):
    requests = [request_of(case, bundle.manifest.sampling) for case in cases]
    for image, wanted in zip(reference.images, generate(bundle, requests, batch=8), strict=True):
        np.testing.assert_array_equal(image, wanted)


def test_calls_are_kept_with_and_without_a_condition_from_first_to_last(bundle, reference):
    assert [call.guided for call in reference.calls] == [True, False] * 3
    times = [call.t[0].item() for call in reference.calls if call.guided]
    assert times == sorted(times, reverse=True)
    torch.testing.assert_close(torch.tensor(times[0]), torch.tensor(0.99))
    for call in reference.calls:
        (y,) = call.condition
        assert y.tolist() == ([0, 1, 2] if call.guided else [3, 3, 3])


def test_what_was_decoded_is_kept(bundle, reference):
    (end,) = reference.ends.values()
    np.testing.assert_array_equal(to_levels(bundle.codec.decode(end)), np.stack(reference.images))
