"""What a configuration says about matrix kernels before anything is measured.

Tensor cores load 16 bytes at a time. Where a matrix's rows do not divide by that, libraries fall
back on kernels of few tile sizes, so that the first tile of tokens already costs a whole one
(NVIDIA, Matrix Multiplication Background User's Guide, section 4).
"""

from __future__ import annotations

from dataclasses import replace

from headway.ideal.prompt_curve import Tiles
from headway.ideal.runtime_form import Prior, Priors
from headway.model.architecture import ModelArchitecture
from headway.model.attention import GroupedQueryAttention

# A CPU has no tiles to speak of, turns to arithmetic within a few tokens, and some engines take as
# long again to begin a request as for a token: little of what GPUs teach holds there.
CPU_PRIORS = replace(
    Priors(), log_first=Prior(0.3, 0.4), log_corner_tokens=Prior(4.0, 2.0), lead=Prior(0.1, 0.6)
)
# Elements of two bytes in a load of a tensor core.
ALIGNED_ELEMENTS = 8
# Up to so many tokens the kernels for vectors and narrow matrices are used.
SMALL_TOKENS = 32


def expected_of(widths: tuple[int, ...]) -> tuple[Tiles, Priors]:
    """Tiles and priors of a model whose matrices have ``widths`` on each device, in elements.

    Priors come from models with aligned widths; the others are expected to be like them with twice
    the spread.
    """
    if all(width % ALIGNED_ELEMENTS == 0 for width in widths):
        return Tiles(), Priors()
    return Tiles(small_tokens=SMALL_TOKENS), Priors().doubled()


def widths(model: ModelArchitecture, num_accelerators: int) -> tuple[int, ...]:
    """Rows of the matrices of ``model`` on each of ``num_accelerators``, in elements."""
    found = {model.hidden_size}
    for group in model.layers:
        found.add(group.ffn.intermediate_size // num_accelerators)
        if isinstance(group.attention, GroupedQueryAttention):
            heads = group.attention.num_heads * group.attention.head_dim
            found.add(heads // num_accelerators)
    return tuple(sorted(found))
