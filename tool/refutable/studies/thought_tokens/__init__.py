"""The thought-tokens study: small decoders that reason in continuous thoughts."""
