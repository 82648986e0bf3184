"""How much processor time passes inside a model's forward and backward passes."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from functools import wraps
from typing import Any, Self
from unittest import mock

import torch
from torch import nn
from torch.nn.modules import module as every_module


class ModelClock(AbstractContextManager["ModelClock"]):
    """Counts while a ``with`` block lasts; hooks on every module cost a few percent.

    Attributes
    ----------
    seconds : float
        Processor time inside the outermost calls of modules and inside `torch.autograd.grad`,
        recorders that hang on modules included.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth = 0
        self._since = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Start."""
        for handle in (
            every_module.register_module_forward_pre_hook(self._begin),
            # Called when a module raises, too, so that the depth is right after it.
            every_module.register_module_forward_hook(self._end, always_call=True),
        ):
            self._stack.callback(handle.remove)
        # Backward passes begin outside any module.
        self._stack.enter_context(
            mock.patch.object(torch.autograd, "grad", self._timed(torch.autograd.grad))
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Stop; nothing remains on any module."""
        self._stack.close()

    def _begin(self, module: nn.Module, args: Any) -> None:
        if self._depth == 0:
            self._since = time.process_time()
        self._depth += 1

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.process_time() - self._since

    def _timed(self, function: Any) -> Any:
        @wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            self._begin(None, args)  # type: ignore[arg-type]
            try:
                return function(*args, **kwargs)
            finally:
                self._end(None, args, None)  # type: ignore[arg-type]

        return timed
