"""What weights show without running the model.

Every number here is a fact of one checkpoint: it has no p value, and a verdict reads "holds (does
not hold) for this checkpoint". Where a null is needed, the value is ranked among 19 copies
(shuffled, rotated or untrained): (1 + b) / (K + 1), so .05 means beyond all of them.
"""
