"""A decoder as weights alone: its forward pass, folding, circuits and logit attribution."""

from refutable.studies.no_position.circuits.attribution import Attribution, direct_logit_attribution
from refutable.studies.no_position.circuits.compose import (
    direct_path,
    ov_circuit,
    ov_circuit_as_published,
    qk_circuit,
    qk_circuit_as_published,
)
from refutable.studies.no_position.circuits.folding import (
    centre_unembedding,
    centre_writing,
    fold_norms,
)
from refutable.studies.no_position.circuits.forward import Activations, forward
from refutable.studies.no_position.circuits.weights import (
    BlockWeights,
    DecoderWeights,
    Norm,
    read_gpt2,
)

__all__ = [
    "Activations",
    "Attribution",
    "BlockWeights",
    "DecoderWeights",
    "Norm",
    "centre_unembedding",
    "centre_writing",
    "direct_logit_attribution",
    "direct_path",
    "fold_norms",
    "forward",
    "ov_circuit",
    "ov_circuit_as_published",
    "qk_circuit",
    "qk_circuit_as_published",
    "read_gpt2",
]
