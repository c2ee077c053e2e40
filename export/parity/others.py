"""Parts beside the denoiser: what decodes latents, and what reads prompts."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from export.parity.figures import psnr_db, relative_error
from export.parity.reference import exactly
from export.runtime.trajectory import Tensors
from model.autoencoder import Codec
from model.sampling.conditions import Wanted
from model.sampling.painter import to_levels
from model.text.pretrained import Pretrained


def decoder_psnrs_db(found: Codec, exact: Codec, latents: Iterable[Tensor]) -> tuple[float, ...]:
    """PSNR of each image that two codecs make of the same latents (B, C, d, d)."""
    values: list[float] = []
    for batch in latents:
        with exactly():
            wanted = to_levels(exact.to(batch.device).decode(batch))
        with torch.inference_mode():
            images = to_levels(found.decode(batch))
        values += [psnr_db(*pair) for pair in zip(images, wanted, strict=True)]
    return tuple(values)


def token_calls(encoder: Pretrained, wanted: Iterable[Wanted], tokens: int) -> list[Tensors]:
    """Ids (1, L) and mask (1, L) of each of these prompts once, padded to so many tokens."""
    calls: list[Tensors] = []
    for prompt in dict.fromkeys(str(each) for each in wanted):
        ids, _ = encoder.read(prompt, tokens)
        padded = torch.zeros(1, tokens, dtype=torch.int64)
        padded[0, : len(ids)] = ids
        calls.append((padded, torch.arange(tokens)[None] < len(ids)))
    return calls


def states_that_count(call: Tensors, outputs: Tensors) -> Tensor:
    """States of the tokens in a call's mask; those of others are undefined."""
    (_, mask), (states,) = call, outputs
    return states[mask]


def text_error(
    graph: Callable[[Tensor, Tensor], Tensors], encoder: Pretrained, calls: Sequence[Tensors]
) -> float:
    """Largest relative error of the states that a graph makes of prompts, see `token_calls`."""
    errors = []
    for ids, mask in calls:
        with exactly():
            exact = encoder.network(input_ids=ids[mask][None]).last_hidden_state[0]
        errors.append(relative_error(states_that_count((ids, mask), graph(ids, mask)), exact))
    return max(errors)
