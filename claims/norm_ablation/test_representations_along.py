"""Row N7 along training: whether representations without norms part from those with them.

The difference of row N7 (alignment of models of two kinds, less that of two LayerNorm models) at
seven checkpoints, a doubling of the tokens from one to the next, each variant at its best rate. A
slope counts from a fifth of what the row asks for. The region was set after the row had been read
at the end of both recipes (-0.04 and -0.17), and before anything was read along training.
"""

from refutable import Source, claim
from refutable.observables.similarity.kernels import alignment_features, alignments, families_of
from refutable.predictions import Likeness, cross_similarity

SESOI = 0.01
ALIGNMENT = Likeness(alignment_features, families_of, alignments)


@claim(
    id="ablation.representations-part",
    statement="Without norms representations part further from LayerNorm's as training goes on.",
    refuted_if="with each doubling of the tokens their alignment falls back by less than 0.01",
    source=Source(study="norm-ablation", ref="N7"),
    predicts=cross_similarity(
        "none-tuned", "layernorm-both-tuned", kernel=ALIGNMENT, along=True
    ).below(-SESOI),
    no_control="untrained models have no path: the first checkpoint is where it starts from",
    kind="training",
    unit="alignment per doubling",
    sesoi=SESOI,
    margin=SESOI,
)
def test_alignment(kernel_along_training):
    """Debiased alignment of models of different seeds, mean over matched blocks."""
    return kernel_along_training
