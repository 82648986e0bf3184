"""How alike two models represent the same prompts: centred kernel alignment, debiased and plain.

Kornblith et al., "Similarity of Neural Network Representations Revisited", ICML 2019, with the
unbiased estimate of the Hilbert-Schmidt independence criterion of Song et al., "Feature Selection
via Dependence Maximization", JMLR 2012. The plain form is far from 0 for independent
representations that have more dims than rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from refutable.capture.compare import BOUNDS, relative_difference
from refutable.capture.last_states import LAST_STATES, handed_over
from refutable.capture.measure import measure
from refutable.capture.packing import LAYOUTS, choose
from refutable.errors import NotAvailableError
from refutable.models.registry import all_specs
from refutable.models.spec import ModelSource
from refutable.observables.registry import observable

if TYPE_CHECKING:
    import xarray as xr
    from numpy.typing import NDArray

    from refutable.models.encode import Encoded
    from refutable.models.load import LoadedModel
    from refutable.models.sites import Sites
    from refutable.models.spec import ModelSpec

    Floats = NDArray[np.float64]

GAUSSIAN = "gaussian"
"""The reference that is no model: independent normal numbers."""
ESTIMATORS = ("debiased", "plain")
MOST_DRAWS = 4
"""Draws of one prompt of each family; more cost a forward pass each on every reference."""
_REFERENCE_SEED = 0
_GAUSSIAN_SEED = 29


def debiased_cka(x: Floats, y: Floats) -> float:
    """Centred kernel alignment with a linear kernel, from unbiased estimates.

    Parameters
    ----------
    x, y : array, (row, dim)
        Two representations of the same rows, four or more; numbers of dims may differ.

    Returns
    -------
    float
        HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)): 1 for equal representations (up to rotation,
        shift and scale), 0 on average for independent ones, and so at times below 0. NaN for
        fewer than four rows, or where a representation does not vary.

    Notes
    -----
    Kernel matrices are U-centred: without the diagonal, which is what biases the plain form, rows
    and columns sum to 0. The inner product of two of them, over n (n - 3), is the unbiased HSIC.
    """
    return _alignment(x, y, "debiased")


def plain_cka(x: Floats, y: Floats) -> float:
    """Centred kernel alignment with a linear kernel as first published: between 0 and 1.

    Parameters
    ----------
    x, y : array, (row, dim)
        Two representations of the same rows.
    """
    return _alignment(x, y, "plain")


def _alignment(x: Floats, y: Floats, estimator: str) -> float:
    if len(x) != len(y):
        raise ValueError(f"expected as many rows of x as of y, got {len(x)} and {len(y)}")
    return float(_unit(x, estimator) @ _unit(y, estimator))


def _unit(features: Floats, estimator: str) -> Floats:
    """Centred kernel matrix of length 1, as a vector: their inner product is the alignment."""
    from sklearn.metrics.pairwise import linear_kernel  # type: ignore[import-untyped]
    from sklearn.preprocessing import KernelCenterer  # type: ignore[import-untyped]

    rows = np.asarray(features, dtype=np.float64)
    # Neither form changes with a shift; without the mean less is lost to rounding.
    kernel = linear_kernel(rows - rows.mean(0))
    if estimator == "plain":
        centred = KernelCenterer().fit_transform(kernel)
    elif len(rows) < 4:
        return np.full(kernel.size, np.nan)
    else:
        centred = u_centred(kernel)
    length = np.linalg.norm(centred)
    unit: Floats = centred / length if length > 0 else np.full_like(centred, np.nan)
    return unit.ravel()


def u_centred(kernel: Floats) -> Floats:
    """Kernel matrices ``(..., row, row)`` without their diagonals, rows and columns summing to 0.

    The unbiased centring of Song et al.; four rows or more.
    """
    n = kernel.shape[-1]
    diagonal = np.eye(n, dtype=bool)
    off = np.where(diagonal, 0.0, kernel)
    sums = off.sum(-1) / (n - 2)
    whole = off.sum((-2, -1))[..., None, None] / ((n - 1) * (n - 2))
    centred: Floats = off - sums[..., None, :] - sums[..., :, None] + whole
    return np.where(diagonal, 0.0, centred)


# -- representations -------------------------------------------------------------------------


def last_residuals(loaded: LoadedModel, encoded: Encoded) -> Floats:
    """Residual stream at each prompt's last token after each block, ``(prompt, layer, dim)``.

    What the pass before recorded is taken; otherwise prompts share forward passes only where that
    was seen to give what single prompts give.
    """
    from refutable.models.sites import find_sites

    known = handed_over(loaded.model, encoded.ids)
    if known is not None:
        return known.astype(np.float64)
    sites = find_sites(loaded.model)
    layout = _layout(loaded, sites, encoded)
    measured = measure(loaded.model, sites, encoded, [LAST_STATES], layout=layout)
    return np.asarray(measured[LAST_STATES.name].values, dtype=np.float64)


def _layout(loaded: LoadedModel, sites: Sites, encoded: Encoded) -> str:
    few = some(encoded, choose([len(ids) for ids in encoded.ids], most=4))
    bound = BOUNDS[loaded.dtype]

    def vectors(layout: str) -> Floats:
        return measure(loaded.model, sites, few, [LAST_STATES], layout=layout)[
            LAST_STATES.name
        ].values

    wanted = vectors("single")
    for layout in LAYOUTS[:-1]:
        try:
            if relative_difference(vectors(layout), wanted) <= bound:
                return layout
        # An architecture may refuse position ids or masks in any way it likes.
        except Exception:  # noqa: S112
            continue
    return "single"


def some(encoded: Encoded, indices: Sequence[int]) -> Encoded:
    """Keep the prompts at some places."""
    return replace(
        encoded,
        ids=tuple(encoded.ids[i] for i in indices),
        prompt_ids=tuple(encoded.prompt_ids[i] for i in indices),
        families=tuple(encoded.families[i] for i in indices),
    )


def draws(families: Sequence[str]) -> list[list[int]]:
    """Places of one prompt of each family, draw after draw, no prompt twice.

    Prompts of a family depend on each other, and the unbiased estimate wants independent rows.
    There are as many draws as the smallest family has prompts, and no more than `MOST_DRAWS`.
    """
    by_family: dict[str, list[int]] = {}
    for place, family in enumerate(families):
        by_family.setdefault(family, []).append(place)
    return [list(taken) for taken in zip(*by_family.values(), strict=False)][:MOST_DRAWS]


def _units(vectors: Floats, families: Sequence[str]) -> Floats:
    """Unit kernels of every draw and block: ``(estimator, draw, layer, row * row)``."""
    return np.array(
        [
            [
                [_unit(layer, how) for layer in vectors[rows].swapaxes(0, 1)]
                for rows in draws(families)
            ]
            for how in ESTIMATORS
        ]
    )


# -- references ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Prompts:
    """A prompt set as the model that is compared reads it, and as text for other tokenizers."""

    encoded: Encoded
    texts: tuple[str, ...] | None
    tokenizer: str

    @classmethod
    def of(cls, loaded: LoadedModel, encoded: Encoded) -> _Prompts:
        texts = None
        if loaded.tokenizer is not None:
            skip = 0 if encoded.bos is None else 1
            texts = tuple(
                str(loaded.tokenizer.decode(list(ids[skip:]), clean_up_tokenization_spaces=False))
                for ids in encoded.ids
            )
        return cls(encoded, texts, loaded.tokenizer_digest)

    def read_by(self, other: LoadedModel) -> Encoded:
        """The prompts as token ids of another model; of a long one the end that it can hold."""
        if other.tokenizer_digest == self.tokenizer:
            return self.encoded
        if self.texts is None or other.tokenizer is None:
            raise NotAvailableError(
                f"{other.spec.id} has another vocabulary, and without a tokenizer on both sides "
                "the same prompts cannot be read"
            )
        first = [] if self.encoded.bos is None else [other.facts.bos]
        room = other.facts.context - len(first)
        ids = [
            (*first, *other.tokenizer(text, add_special_tokens=False)["input_ids"][-room:])
            for text in self.texts
        ]
        return replace(self.encoded, ids=tuple(ids))


def reference_models() -> tuple[ModelSpec, ...]:
    """Return the shipped twins of seed 0, one of each variant: what models are compared with."""
    return tuple(
        spec
        for spec in all_specs()
        if spec.source is ModelSource.TWIN
        and "twin" in spec.tags
        and "trained" not in spec.tags
        and spec.seed == _REFERENCE_SEED
    )


@lru_cache(maxsize=32)
def _reference_units(spec: ModelSpec, prompts: _Prompts, device: str, dtype: str) -> Floats:
    """Unit kernels of a reference; every model that is compared in a process needs the same."""
    from refutable.models.load import load

    loaded = load(spec, device=device, dtype=dtype)
    return _units(last_residuals(loaded, prompts.read_by(loaded)), prompts.encoded.families)


@observable(
    source="model",
    dims=("estimator", "reference", "reference_layer", "layer"),
    per_prompt=True,
    unit="alignment",
    compared_with=reference_models,
    last_states=True,
)
def representation_alignment(loaded: LoadedModel, encoded: Encoded) -> xr.DataArray:
    """Centred kernel alignment of each block with the blocks of the seed-0 twins and with noise.

    Notes
    -----
    Representations are the residual stream at the last token, before the final norm; rows are
    prompts, one of each family, and the alignment is the mean over at most four draws of them, no
    prompt twice. ``estimator`` is ``debiased`` or ``plain``. ``reference`` is the variant of
    a twin, whose single seed stands for it, or ``gaussian``: independent normal numbers of as many
    rows and dims as the model's, drawn anew for each draw and ``reference_layer``. The debiased
    form should find 0 there; what the plain form finds is its bias. NaN for fewer than four
    families.
    """
    import xarray as xr

    encoded = some(encoded, sorted(place for taken in draws(encoded.families) for place in taken))
    vectors = last_residuals(loaded, encoded)
    model_units = _units(vectors, encoded.families)
    prompts = _Prompts.of(loaded, encoded)
    specs = reference_models()
    kernels = [_reference_units(s, prompts, loaded.device, loaded.dtype) for s in specs]
    blocks = max(units.shape[2] for units in kernels)
    noise = np.random.default_rng(_GAUSSIAN_SEED).standard_normal(
        (len(vectors), blocks, vectors.shape[2])
    )
    kernels.append(_units(noise, encoded.families))
    values = np.full((len(ESTIMATORS), len(kernels), blocks, model_units.shape[2]), np.nan)
    for place, units in enumerate(kernels):
        aligned = np.einsum("edri,edli->edrl", units, model_units, optimize=True)
        values[:, place, : units.shape[2]] = aligned.mean(1)
    return xr.DataArray(
        values.astype(np.float32),
        dims=("estimator", "reference", "reference_layer", "layer"),
        coords={
            "estimator": list(ESTIMATORS),
            "reference": [*(spec.group for spec in specs), GAUSSIAN],
            "reference_layer": range(blocks),
            "layer": range(model_units.shape[2]),
        },
    )
