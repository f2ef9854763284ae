"""Random crops and flips of training images in memory, for all samples of a batch at once.

As He et al. (2016, section 4.2) train on CIFAR-10: 4 pixels of zeros are added on each side, an image of the old size
is cropped from that at random, and is mirrored with a chance of one half. Images are normalised before, so zero is the
mean of each channel.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.errors import RecipeError
from lthprune.training.plan import TrainingPlan

_PADDING = 4
_SHIFTS = 2 * _PADDING + 1
_VIEWS = 2 * _SHIFTS * _SHIFTS  # of an image: mirrored or not, moved down, moved right


class Views:
    """An endless iterator over the random views of the samples in the batches of a population.

    The draws are the same with crops, flips or both.

    Args:
        batch_size: the number of samples per step.
        generators: one for each trial; None is torch's default generator.
        device: the device of the views.

    Examples:
        >>> next(Views(5, [torch.Generator(), torch.Generator()])).shape
        torch.Size([2, 5])
    """

    def __init__(
        self, batch_size: int, generators: Sequence[torch.Generator | None], device: torch.device | None = None
    ) -> None:
        self._batch_size = batch_size
        self._generators = list(generators)
        self._device = device

    def __next__(self) -> Tensor:
        """Return the views of the samples of the next batch, (trials, batch)."""
        drawn = [torch.randint(_VIEWS, (self._batch_size,), generator=each) for each in self._generators]
        return torch.stack(drawn).to(self._device)

    def keep(self, trials: Sequence[int]) -> None:
        """Continue with these trials only, given by their places among the current ones."""
        self._generators = [self._generators[trial] for trial in trials]


def augment(images: Tensor, views: Tensor, kinds: Sequence[str]) -> Tensor:
    """Return images as their views show them.

    Args:
        images: (n, C, H, W).
        views: of each image, (n,), as ``Views`` draws them.
        kinds: ``"crop"``, ``"flip"`` or both.

    Examples:
        >>> image = torch.arange(4.0).view(1, 1, 2, 2)
        >>> augment(image, torch.tensor([161]), ["flip"])[0, 0].tolist()
        [[1.0, 0.0], [3.0, 2.0]]
        >>> augment(image, torch.tensor([9 * 4 + 5]), ["crop"])[0, 0].tolist()  # one pixel down in the padded image
        [[2.0, 3.0], [0.0, 0.0]]
    """
    samples, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(samples, -1)
    columns = torch.arange(width, device=images.device).expand(samples, -1)
    if "flip" in kinds:
        mirrored = views[:, None] >= _SHIFTS * _SHIFTS
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if "crop" in kinds:
        images = F.pad(images, (_PADDING,) * 4)
        rows = rows + views[:, None] % _SHIFTS
        columns = columns + views[:, None] // _SHIFTS % _SHIFTS
    places = (rows[:, :, None] * images.shape[3] + columns[:, None, :]).view(samples, 1, -1)
    return images.flatten(2).gather(2, places.expand(-1, channels, -1)).view(samples, channels, height, width)


def check_augmentation(plan: TrainingPlan, input_shape: Sequence[int]) -> None:
    """Raise a RecipeError if the plan augments inputs that are not images, (C, H, W)."""
    if plan.augment and len(input_shape) != 3:
        raise RecipeError(
            f"augment = {list(plan.augment)} is for images, and one input of these data has the shape "
            f"{tuple(input_shape)}. Leave augment out; images of several tasks are flattened side by side."
        )
