"""Row T7: whether the published QK and OV maps describe what the heads do.

The published maps multiply raw weights. In layer 1 they feed raw embeddings, although that layer
reads what block 0 wrote, and the OV map is read through the W_in of layer 0.
"""

from refutable import Source, claim
from refutable.predictions import each_seed, over_seeds
from refutable.spec.claim import placebo
from refutable.studies.no_position.observables.weights import (
    output_value_map_agreement as output_value_maps,
)
from refutable.studies.no_position.observables.weights import (
    query_key_map_agreement as query_key_maps,
)

SOURCE = Source(study="no-position", ref="T7")
UNTRAINED = "the study's own models before training, one for each seed"


def scores_untrained_0(untrained_score_agreement):
    """The same before training."""
    return untrained_score_agreement.sel(form="published", layer=0)


@claim(
    id="noposition.qk-layer0",
    statement="The published QK map of layer 0 gives that layer's attention scores.",
    refuted_if="its correlation with the model's own scores lies below 0.9",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.9),
    control=placebo(scores_untrained_0, statement=UNTRAINED),
    sesoi=0.05,
    kind="weights",
    unit="correlation",
    margin=0.05,
)
def test_published_qk_of_layer_0(score_agreement):
    """Correlation of W_E W_Q W_K' W_E' with layer 0's scores, centred over the keys."""
    return score_agreement.sel(form="published", layer=0)


@claim(
    id="noposition.qk-layer0-composed",
    statement="With norm and biases the QK map of layer 0 is exactly its attention scores.",
    refuted_if="its correlation with the model's own scores is not 1 in any seed",
    source=SOURCE,
    predicts=each_seed("no-position").equals(1.0, tolerance=1e-6),
    no_control="an identity: it holds for any weights, untrained ones too",
    kind="weights",
    unit="correlation",
)
def test_composed_qk_of_layer_0(score_agreement):
    """Correlation of the composed QK map with layer 0's scores, centred over the keys."""
    return score_agreement.sel(form="composed", layer=0)


def scores_untrained_1(untrained_score_agreement):
    """The same before training."""
    return untrained_score_agreement.sel(form="published", layer=1)


@claim(
    id="noposition.qk-layer1",
    statement="The published QK map of layer 1 gives that layer's attention scores.",
    refuted_if="its correlation with the model's own scores lies below 0.5",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    control=placebo(scores_untrained_1, statement=UNTRAINED),
    sesoi=0.05,
    kind="weights",
    unit="correlation",
    margin=0.05,
)
def test_published_qk_of_layer_1(score_agreement):
    """Correlation of W_E W_Q W_K' W_E' with layer 1's scores, centred over the keys."""
    return score_agreement.sel(form="published", layer=1)


def path_untrained(untrained_query_key_map):
    """The same before training."""
    return query_key_maps(untrained_query_key_map).isel(layer=1)


@claim(
    id="noposition.qk-layer1-path",
    statement="The published QK map of layer 1 agrees with the one through block 0's feed-forward.",
    refuted_if="its correlation with the composed map lies below 0.5",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    control=placebo(path_untrained, statement=UNTRAINED),
    sesoi=0.05,
    kind="weights",
    unit="correlation",
    margin=0.05,
)
def test_published_qk_path_of_layer_1(query_key_map_agreement):
    """Correlation of the published QK map of layer 1 with the composed one, 60 tokens."""
    return query_key_map_agreement.isel(layer=1)


def output_values_untrained_0(untrained_output_value_map):
    """The same before training."""
    return output_value_maps(untrained_output_value_map).isel(layer=0)


@claim(
    id="noposition.ov-layer0",
    statement=(
        "The published OV map of layer 0 shows what that head hands to its feed-forward layer."
    ),
    refuted_if="its correlation with the composed map lies below 0.9",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.9),
    control=placebo(output_values_untrained_0, statement=UNTRAINED),
    sesoi=0.05,
    kind="weights",
    unit="correlation",
    margin=0.05,
)
def test_published_ov_of_layer_0(output_value_map_agreement):
    """Correlation of the published OV map of layer 0 with the composed one."""
    return output_value_map_agreement.isel(layer=0)


def output_values_untrained_1(untrained_output_value_map):
    """The same before training."""
    return output_value_maps(untrained_output_value_map).isel(layer=1)


@claim(
    id="noposition.ov-layer1",
    statement=(
        "The published OV map of layer 1 shows what that head hands to its feed-forward layer."
    ),
    refuted_if="its correlation with the map through layer 1's own input lies below 0.5",
    source=SOURCE,
    predicts=over_seeds("no-position").above(0.5),
    control=placebo(output_values_untrained_1, statement=UNTRAINED),
    sesoi=0.05,
    kind="weights",
    unit="correlation",
    margin=0.05,
)
def test_published_ov_of_layer_1(output_value_map_agreement):
    """Correlation of the published OV map (read by layer 0's W_in) with the composed one."""
    return output_value_map_agreement.isel(layer=1)
