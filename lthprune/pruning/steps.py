"""Hooks that run after every step of every ``torch.optim`` optimiser."""

from collections.abc import Callable
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.hooks import RemovableHandle

_handles: dict[Callable[[torch.optim.Optimizer, Any, Any], None], RemovableHandle] = {}


def after_every_step(hook: Callable[[torch.optim.Optimizer, Any, Any], None]) -> None:
    """Call a hook with the optimiser after each step of every optimiser; registering it again has no effect."""
    if hook not in _handles:
        _handles[hook] = register_optimizer_step_post_hook(hook)
