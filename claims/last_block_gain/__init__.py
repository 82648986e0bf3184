"""Does the last block shrink or grow the residual stream, and does the norm's kind decide it?

Quantity: g = |h_L| / |h_(L-1)|, Euclidean norms of the last token's residual stream after the last
and the last-but-one block, before the final norm. Everything is tested as log g.
"""
