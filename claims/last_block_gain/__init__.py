"""Whether the last block shrinks or grows the residual stream, and whether the norm decides it.

Quantity: g = |h_L| / |h_(L-1)|, Euclidean norms of the last token's residual stream after the last
and the last-but-one block, before the final norm. Everything is tested as log g.
"""
