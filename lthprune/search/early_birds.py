"""Early-bird tickets: masks that no longer change, drawn in the first epochs of a training."""

from collections import deque
from collections.abc import Mapping

from torch import nn

from lthprune.arguments import whole_number
from lthprune.errors import PruningError
from lthprune.pruning import (
    Masks,
    Pruning,
    Selection,
    choose_masks,
    current_masks,
    hamming_distance,
    pools_with_densities,
    snapshot,
)


class EarlyBird:
    """The stop rule of early-bird tickets (You et al. 2020, section 3 and algorithm 1), for a loop of your own.

    After every epoch the trained weights choose masks as if the network were pruned now. The distance of two masks is
    the fraction of all weights in which they differ, the normalised Hamming distance. The ticket is found once the
    newest mask differs by less than ``epsilon`` from each of the other masks in the queue, as in the authors' code.

    Their masks are of channels, chosen by the scales of batch norms, at densities from 30 to 70 %. Here they are of
    weights, chosen by magnitude. Two independent masks of density d differ by ``2 d (1 - d)``. At 5 % that is less than
    0.1, so the rule holds as soon as the queue is full: at low densities choose ``epsilon`` in proportion to d.

    Args:
        density: the fraction of the remaining weights to keep, above 0 and at most 1; or one for each tensor, by name.
        epsilon: the distance that all masks must be below.
        queue: how many of the last masks are compared, 2 or more.
        selection: which layers are prunable.
        bias: whether biases compete with the weights, by scaled scores.

    Attributes:
        epochs: how many masks were chosen so far.
        distances: of the newest mask to each of the others in the queue, the oldest first.
        masks: the newest masks; None before the first ``update``.

    Raises:
        PruningError: ``epsilon`` or ``queue`` is out of range.

    Examples:
        >>> model = nn.Linear(20, 10)
        >>> bird = EarlyBird(0.3, queue=3)
        >>> [bird.update(model) for epoch in range(4)]  # the weights stay as they are
        [False, False, True, True]
        >>> bird.distances, int(bird.masks["weight"].sum())
        ((0.0, 0.0), 60)
    """

    def __init__(
        self,
        density: float | Mapping[str, float],
        *,
        epsilon: float = 0.1,
        queue: int = 5,
        selection: Selection | None = None,
        bias: bool = False,
    ) -> None:
        if not epsilon > 0 or whole_number("queue", queue) < 2:
            raise PruningError(
                f"epsilon = {epsilon}, queue = {queue}: give a distance above 0, and a queue of 2 masks or more."
            )
        self._density, self._epsilon = density, epsilon
        self._pruning = Pruning(selection=selection or Selection(), bias="together" if bias else False)
        self._queue: deque[Masks] = deque(maxlen=queue)
        self.epochs = 0

    def update(self, model: nn.Module) -> bool:
        """Choose masks from the weights of a model, which stays as it is; call this after every epoch.

        Returns:
            Whether the queue is full and the ticket is found.

        Raises:
            PruningError: the density does not fit the model, or a weight is not finite.
        """
        pools = pools_with_densities(model, self._density, self._pruning)
        masks = choose_masks(
            self._pruning,
            [pool for pool, _ in pools],
            [round(pool.left * share) for pool, share in pools],
            masks=current_masks(self._pruning.tensors(model)),
            final=snapshot(model),
        )
        self._queue.append(masks)
        self.epochs += 1
        return self.found

    @property
    def masks(self) -> Masks | None:
        """The newest masks."""
        return dict(self._queue[-1]) if self._queue else None

    @property
    def distances(self) -> tuple[float, ...]:
        """The distances of the newest mask to the others in the queue."""
        return tuple(hamming_distance(before, self._queue[-1]) for before in list(self._queue)[:-1])

    @property
    def found(self) -> bool:
        """Whether the queue is full and all distances are below ``epsilon``."""
        return len(self._queue) == self._queue.maxlen and max(self.distances) < self._epsilon
