"""Names of sites: TransformerLens's, with or without its ``hook_``."""

from __future__ import annotations

from refutable.errors import ClaimError, near

IN_BLOCK = (
    "resid_pre",
    "resid_mid",
    "resid_post",
    "attn_out",
    "mlp_out",
    "ln1",
    "ln2",
    "ln1_post",
    "ln2_post",
    "attn.z",
    "attn.pattern",
    "mlp.pre",
    "mlp.post",
    "router",
)
"""Sites of a block that one pass can record."""

OUTSIDE = ("embed", "pos_embed", "ln_final", "logits", "logits:all", "loss")

_EDITED_ONLY = ("q", "k", "v", "rot_q", "rot_k", "scores")


def canonical(site: str) -> str:
    """Return a site's name as used here: TransformerLens's own without ``hook_``.

    >>> canonical("blocks.0.attn.hook_attn_scores")
    'blocks.0.attn.scores'
    """
    plain = site.replace("hook_", "")
    return plain.replace(".attn.attn_scores", ".attn.scores")


def recordable(site: str) -> str:
    """Return the canonical name of a site that a pass can record.

    Parameters
    ----------
    site : str
        ``blocks.*.NAME`` for every block, ``blocks.3.NAME`` for one, or a name outside of them.

    Raises
    ------
    ClaimError
        If there is no such site, or it can be edited only; near names are listed.
    """
    name = canonical(site)
    begin, _, rest = name.partition(".")
    layer, _, inner = rest.partition(".")
    known = [*OUTSIDE, *(f"blocks.*.{one}" for one in IN_BLOCK)]
    if name in OUTSIDE or (
        begin == "blocks" and (layer == "*" or layer.isdecimal()) and inner in IN_BLOCK
    ):
        return name
    if begin == "blocks" and inner.removeprefix("attn.") in _EDITED_ONLY:
        raise ClaimError(
            f"site {site!r} cannot be recorded in a shared pass: read it with "
            "refutable.capture.intervene.read in an observable of source='model'"
        )
    raise ClaimError(f"no site {site!r} to record: {near(name, known)}")
