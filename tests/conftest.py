"""Every run of the tests draws the same examples, on one thread, so that a failure anywhere can be had everywhere."""

import torch
from hypothesis import HealthCheck, Phase, settings

torch.set_num_threads(1)
settings.register_profile(
    "lthprune",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("lthprune")
