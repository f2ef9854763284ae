"""Transformers of two layers, random tokens in memory, and Trainers that print nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

transformers = pytest.importorskip("transformers")  # pytest looks into every file for doctests

SIZES = {"vocab_size": 40, "num_labels": 3, "pad_token_id": 0}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 16,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 16, "bos_token_id": 1, "eos_token_id": 2}


class Tokens(Dataset[dict[str, Tensor]]):
    """Random sequences, of which the first token says the label."""

    def __init__(self, size: int = 32, *, language: bool = False) -> None:
        self.tokens = torch.randint(3, 40, (size, 8), generator=torch.Generator().manual_seed(0))
        self.language = language

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        tokens = self.tokens[index]
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "labels": tokens if self.language else tokens[0] % 3,
        }


def bert(seed: int = 0) -> nn.Module:
    return _seeded(seed, lambda: transformers.BertForSequenceClassification(transformers.BertConfig(**BERT, **SIZES)))


def gpt2(seed: int = 0) -> nn.Module:
    return _seeded(seed, lambda: transformers.GPT2ForSequenceClassification(transformers.GPT2Config(**GPT2, **SIZES)))


def gpt2_language(seed: int = 0) -> nn.Module:
    return _seeded(seed, lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2, **SIZES)))


def _seeded(seed: int, build: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build()


def trainer(model: nn.Module, folder: Path, *callbacks: Any, **words: Any) -> transformers.Trainer:
    words = {
        "max_steps": 6,
        "learning_rate": 5e-3,
        "per_device_train_batch_size": 8,
        "eval_strategy": "steps",
        "eval_steps": 3,
        "save_strategy": "no",
    } | words
    others = {name: words.pop(name) for name in ("optimizers", "model_init") if name in words}
    arguments = transformers.TrainingArguments(
        str(folder), use_cpu=True, report_to=[], disable_tqdm=True, logging_strategy="no", **words
    )
    language = isinstance(model, transformers.GPT2LMHeadModel)
    return transformers.Trainer(
        None if "model_init" in others else model,
        arguments,
        train_dataset=Tokens(language=language),
        eval_dataset=Tokens(16, language=language),
        callbacks=list(callbacks),
        compute_metrics=None if language else _accuracy,
        **others,
    )


def _accuracy(predictions: Any) -> dict[str, float]:
    return {"accuracy": float((predictions.predictions.argmax(-1) == predictions.label_ids).mean())}


def train(trainer: transformers.Trainer) -> None:
    """Train with the same dropout every time."""
    transformers.set_seed(0)
    trainer.train()
