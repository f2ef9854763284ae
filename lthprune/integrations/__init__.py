"""Other frameworks: one module for each, and none is imported before it is asked for.

- ``lthprune.integrations.lightning``: a callback for Lightning's ``Trainer``.
- ``lthprune.integrations.transformers``: a callback for the ``Trainer`` of Hugging Face transformers.
- ``lthprune.integrations.ray``: a Ray cluster for runs, controls and sweeps.
"""
