"""Published findings about trained decoders that a release is compared by: the group ``release``.

Each is read off the same packed passes, on one set of weights, and its null control is a placebo:
the same states looked at where there is nothing to find.
"""
