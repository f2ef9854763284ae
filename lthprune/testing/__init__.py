"""Property tests for scores and pruning methods of your own: they call them on many small cases and report the
smallest one that fails, in words. They need hypothesis: ``pip install 'lthprune[testing]'``."""

from lthprune.testing.methods import check_pruning_method
from lthprune.testing.models import check_score_of_model
from lthprune.testing.scores import check_score

__all__ = ["check_pruning_method", "check_score", "check_score_of_model"]
