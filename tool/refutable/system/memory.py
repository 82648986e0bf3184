"""Keep freed memory for the next tensor instead of handing it back to the operating system.

Forward passes of small models make and drop the same arrays of some megabytes over and over. The C
library returns each to the system and fetches it again, page by page: 40 % of the time of a pass of
128 sequences of 50 tokens through a model of width 64 went there.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_KEPT = 32 << 20
"""Bytes of an array above which it is still mapped on its own and returned at once; the most that
glibc takes. Weights of large models are larger."""
_KEPT = 256 << 20
"""Bytes of free memory above which the rest is returned."""


@cache
def keep_freed_memory() -> bool:
    """Tell the C library to keep up to 256 MB of freed memory; once per process.

    Returns
    -------
    bool
        Whether it did: only glibc has the switch, elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = ((_MMAP_THRESHOLD, _LARGEST_KEPT), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, 16 << 20))
    # musl has a mallopt that does nothing and says so by returning 0.
    return all([mallopt(name, value) for name, value in settings])
