"""torch's optimisers on one vector of values.

This calls the fused operations of ``torch.optim`` directly: for the few values of a sparse population, the bookkeeping
of torch's classes takes longer than the arithmetic.
"""

import torch
from torch import Tensor

from lthprune.training.plan import TrainingPlan


class RowOptimizer:
    """The optimiser of a plan, which updates a vector of values in place from a vector of gradients.

    ``captured`` keeps the learning rate in a tensor, which a recorded CUDA graph can read.
    """

    def __init__(self, plan: TrainingPlan, values: Tensor, gradients: Tensor, *, captured: bool = False) -> None:
        self._plan = plan
        self._values, self._gradients = values, gradients
        moments = bool(plan.momentum) if plan.optimizer == "sgd" else 2
        self._moments = [torch.zeros_like(values) for _ in range(moments)]
        self._steps = torch.zeros((), device=values.device)
        self._lr: float | Tensor = torch.zeros((), device=values.device) if captured else 0.0

    @property
    def state(self) -> list[Tensor]:
        """The tensors that outlive a step."""
        return [*self._moments, self._steps]

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next steps."""
        if isinstance(self._lr, Tensor):
            self._lr.fill_(lr)
        else:
            self._lr = lr

    def step(self) -> None:
        """Make one optimiser step."""
        plan, values, gradients = self._plan, [self._values], [self._gradients]
        if plan.optimizer == "sgd":
            torch._fused_sgd_(
                values,
                gradients,
                self._moments,
                weight_decay=plan.weight_decay,
                momentum=plan.momentum,
                lr=self._lr,
                dampening=0.0,
                nesterov=plan.nesterov,
                maximize=False,
                is_first_step=False,  # moments start at zero, so the first step is like any other
            )
            return
        self._steps += 1
        (torch._fused_adam_ if plan.optimizer == "adam" else torch._fused_adamw_)(
            values,
            gradients,
            self._moments[:1],
            self._moments[1:],
            [],
            [self._steps],
            lr=self._lr,
            beta1=0.9,
            beta2=0.999,
            weight_decay=plan.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )

    def keep(self, kept: Tensor, values: Tensor, gradients: Tensor) -> None:
        """Continue with the values for which ``kept`` is true; their new vectors are ``values`` and ``gradients``."""
        self._values, self._gradients = values, gradients
        self._moments = [moment[kept] for moment in self._moments]
