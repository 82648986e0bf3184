"""How often Python looks for objects that refer to each other in a circle.

It does so after every few hundred objects that are made. A run that reads what it knows makes a
million small ones, nearly all of which live to its end: looking took a sixth of its time. A model
is another matter: what still refers to one that is left, in a circle, holds its weights.
"""

from __future__ import annotations

import atexit
import gc

_SELDOM = (50_000, 20, 20)
"""Objects made, and rounds of the younger generations, between two looks at one generation."""

_usual: tuple[int, int, int] | None = None


def look_seldom() -> None:
    """Look rarely until `look_as_usual`; a second call changes nothing."""
    global _usual
    if _usual is None:
        _usual = gc.get_threshold()
        gc.set_threshold(*_SELDOM)
        # The process ends without looking once more at all that is alive.
        atexit.unregister(gc.freeze)
        atexit.register(gc.freeze)


def look_as_usual() -> None:
    """Take back `look_seldom`; nothing where it was not called."""
    global _usual
    if _usual is not None:
        gc.set_threshold(*_usual)
        _usual = None
