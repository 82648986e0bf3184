"""Row N7: variants represent the same prompts differently.

Each twin is compared, block by block, with the shipped layernorm-both twin of seed 0, by debiased
centred kernel alignment. "Differently" means less alike than two training seeds of one variant.
The one reference seed is a weakness: the seeds that vary are those of the compared models. Seed 0
takes no part: of layernorm-both it is the reference itself, of the others it shares the
reference's initialisation and data order.
"""

from refutable import Source, claim
from refutable.claim import not_tagged, untrained
from refutable.predictions import contrast, fact

SOURCE = Source(study="norm-ablation", ref="N7")
SESOI = 0.05


def matched_blocks(representation_alignment, reference):
    """Mean over blocks of the debiased alignment with the same block of a reference."""
    own = representation_alignment.sel(estimator="debiased", reference=reference, drop=True)
    return own.where(own["layer"] == own["reference_layer"]).mean(("layer", "reference_layer"))


@claim(
    id="ablation.norms-change-representations",
    says="Without norms inside the blocks a model represents prompts differently.",
    refuted_if="its alignment with LayerNorm lies below that of LayerNorm's seeds by under 0.05",
    source=SOURCE,
    predicts=contrast("none", "layernorm-both", without=(0,)).below(-SESOI),
    control=untrained(seeds=5),
    unit="alignment",
    sesoi=SESOI,
    margin=SESOI,
)
def test_without_norms(representation_alignment):
    """Debiased alignment with the layernorm-both twin of seed 0, mean over matched blocks."""
    return matched_blocks(representation_alignment, "layernorm-both")


@claim(
    id="ablation.norm-kind-changes-representations",
    says="With RMSNorm in place of LayerNorm a model represents prompts differently.",
    refuted_if="its alignment with LayerNorm lies below that of LayerNorm's seeds by under 0.05",
    source=SOURCE,
    predicts=contrast("rmsnorm-both", "layernorm-both", without=(0,)).below(-SESOI),
    control=untrained(seeds=5),
    unit="alignment",
    sesoi=SESOI,
    margin=SESOI,
)
def test_norm_kind(representation_alignment):
    """Debiased alignment with the layernorm-both twin of seed 0, mean over matched blocks."""
    return matched_blocks(representation_alignment, "layernorm-both")


@claim(
    id="ablation.another-model-is-alike",
    says="A model of another kind represents prompts like a small LayerNorm model to some degree.",
    refuted_if="its alignment with that model exceeds that with noise by less than 0.05",
    source=SOURCE,
    models=not_tagged("twin"),
    predicts=fact.above(SESOI),
    control=untrained(seeds=5),
    unit="alignment",
    margin=SESOI,
)
def test_beyond_noise(representation_alignment):
    """Debiased alignment with the layernorm-both twin less that with noise, mean over blocks."""
    debiased = representation_alignment.sel(estimator="debiased", drop=True)
    mean = debiased.mean(("layer", "reference_layer"))
    return mean.sel(reference="layernorm-both", drop=True) - mean.sel(
        reference="gaussian", drop=True
    )
