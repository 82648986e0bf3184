"""The claims of the synthetic run, of every kind that a report words differently."""

from __future__ import annotations

from refutable.predictions import equals, every, mean
from refutable.records import ClaimReport

CLAIMS = (
    ClaimReport(
        "gain.layernorm-dampens",
        "last-block-gain",
        "G1",
        "observational",
        "The last block of a LayerNorm decoder shrinks the residual stream.",
        "the mean log gain over prompt families lies above −0.02",
        "Natural log of |h_L| / |h_(L-1)| at the last token, before the final norm.",
        "mean over families below -0.02",
        mean.below(-0.02).record(),
        "log ratio",
        0.02,
        0.02,
        "models normalized by LayerNorm",
        "5 seeds of untrained models of the same config",
    ),
    ClaimReport(
        "gain.rmsnorm-expands",
        "last-block-gain",
        "G2",
        "observational",
        "The last block of an RMSNorm decoder expands the residual stream.",
        "the mean log gain over prompt families lies below 0.02",
        "Natural log of |h_L| / |h_(L-1)| at the last token, before the final norm.",
        "mean over families above 0.02",
        mean.above(0.02).record(),
        "log ratio",
        0.02,
        0.02,
        "models normalized by RMSNorm",
        "5 seeds of untrained models of the same config",
    ),
    ClaimReport(
        "gain.norm-fixes-sign",
        "last-block-gain",
        "G3",
        "observational",
        "The kind of norm fixes the sign of the log gain for every prompt.",
        "one prompt has a log gain of the other sign, beyond .005",
        "Log gain of the last block, signed so that the claimed direction is positive.",
        "every prompt above -0.005",
        every.above(-0.005).record(),
        "log ratio",
    ),
    ClaimReport(
        "weights.parameter-count",
        "gpt2-weights",
        "W1",
        "weights",
        "The model has 355,000,000 unique parameters.",
        "the count differs",
        "Number of unique parameters.",
        "equals 355000000",
        equals(355e6).record(),
        "parameters",
        sampled=False,
    ),
)
