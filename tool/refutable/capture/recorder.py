"""What a recorder is: the part of an observable that runs inside the packed pass."""

from __future__ import annotations
