"""The message of a check that fails."""

from typing import Any

import pytest


def message(check: Any, *arguments: Any, **words: Any) -> str:
    with pytest.raises(AssertionError) as caught:
        check(*arguments, **words)
    return str(caught.value)
