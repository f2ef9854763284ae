"""The ``[run]``, ``[pretrain]`` and ``[resources]`` tables of a recipe."""

from typing import Any, Literal

import torch
from pydantic import Field, field_validator, model_validator

from lthprune.analysis import Coverage
from lthprune.data import DataSpec
from lthprune.lengths import Steps
from lthprune.section import Section, Single
from lthprune.seeds import Seeds, Stream


class PretrainSpec(Section):
    """The ``[pretrain]`` table of a recipe."""

    steps: Steps
    """optimiser steps before the search, or epochs of these data"""
    lr: Single | None = Field(default=None, gt=0)
    """the learning rate, which is constant; by default that of ``[train]``"""
    data: DataSpec
    """what to train on: a table with the keys of ``[data]``; its inputs need the shape of those of ``[data]``"""


class ResourceSpec(Section):
    """The ``[resources]`` table of a recipe: what each job takes of a cluster. It does not change the results."""

    cpus: float = Field(default=1, gt=0, le=10_000)
    """CPUs for each trial of a run, and for each control or cell of a sweep"""
    gpus: float = Field(default=0, ge=0, le=1_000)
    """GPUs likewise; 0.5 lets two share one"""


class RunSpec(Section):
    """The ``[run]`` table of a recipe."""

    trials: int = Field(default=5, ge=1, le=10_000)
    """how many times to run the experiment, each time with its own seed; the paper averages 5"""
    seed: int | tuple[int, ...] = 0
    """the root seed, from which every trial's initialisation, data order and masks follow; or a list of root seeds, one
    for each trial (``trials`` is then left out): see [below](#seeds)"""
    stop_when: Literal["separated", "degraded"] | None = None
    """end after the first level at which the networks of all trials are ``separated`` (or ``degraded``) into tasks;
    see [Structure](structure.md#splitting)"""
    coverage: Coverage = "pairs"
    """what a task must keep, or else it is degraded: all ``pairs`` of an input and an output, or its ``outputs``"""
    keep_early_stop: bool = False
    """whether every ticket also keeps the weights at its early-stopping step"""

    @field_validator("seed", mode="before")
    @classmethod
    def _whole_numbers(cls, seed: object) -> object:
        listed = seed if isinstance(seed, list | tuple) else [seed]
        if not listed or any(isinstance(each, bool) or not isinstance(each, int) or each < 0 for each in listed):
            raise ValueError(f"{seed!r} is not a whole number, 0 or more, or a list of such, one for each trial")
        if len(set(listed)) < len(listed):
            raise ValueError(f"{seed!r} lists a seed twice; two trials would be the same")
        return tuple(seed) if isinstance(seed, list) else seed

    @model_validator(mode="before")
    @classmethod
    def _count_the_seeds(cls, table: Any) -> Any:
        seeds = table.get("seed") if isinstance(table, dict) else None
        return {"trials": len(seeds)} | table if isinstance(seeds, list | tuple) and seeds else table

    @model_validator(mode="after")
    def _one_for_each_trial(self) -> "RunSpec":
        if isinstance(self.seed, tuple) and self.trials != len(self.seed):
            raise ValueError(
                f"trials = {self.trials}, but seed lists {len(self.seed)}, one for each trial; leave out trials"
            )
        return self

    @property
    def first_seed(self) -> int:
        """The root seed, or the first of a list: it decides the data split and random scores."""
        return self.seed[0] if isinstance(self.seed, tuple) else self.seed

    def generator(self, stream: Stream, trial: int = 0) -> torch.Generator:
        """Return a generator at the start of a trial's stream; with a list of seeds, each is the root of its trial."""
        if isinstance(self.seed, tuple):
            return Seeds(self.seed[trial]).generator(stream)
        return Seeds(self.seed).generator(stream, trial=trial)

    def control_generator(self, trial: int, repeat: int, level: int = 0) -> torch.Generator:
        """Return a generator for what a control of a trial draws; see ``Seeds.control``."""
        if isinstance(self.seed, tuple):
            return Seeds(self.seed[trial]).control(repeat=repeat, level=level)
        return Seeds(self.seed).control(trial=trial, repeat=repeat, level=level)

    def stability_generator(self, stream: Stream, trial: int, copy: int) -> torch.Generator:
        """Return a generator for what the training of a copy of a trial's network draws; see ``Seeds.stability``."""
        if isinstance(self.seed, tuple):
            return Seeds(self.seed[trial]).stability(stream, copy=copy)
        return Seeds(self.seed).stability(stream, trial=trial, copy=copy)

    def information_generator(self, pair: tuple[str, str], trial: int, level: int, step: int) -> torch.Generator:
        """Return a generator for the estimate of a mutual information of a trial; see ``Seeds.information``."""
        if isinstance(self.seed, tuple):
            return Seeds(self.seed[trial]).information(pair, level=level, step=step)
        return Seeds(self.seed).information(pair, trial=trial, level=level, step=step)
