"""Models of transformers from tiny configurations, without dropout, and with labels wherever they take them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from tests.zoo.configurations import BERT, GPT2, LABELS, LLAMA, MARKS, SIZES, VIT, VOCABULARY, WAVES, WIDTH
from tests.zoo.specimen import Draw, Inputs, Specimen, distance, own_loss, tokens

LENGTH = 8


def labels(generator: Generator, classes: int = LABELS) -> Tensor:
    return torch.randint(classes, (2,), generator=generator)


def labelled(generator: Generator) -> Inputs:
    return (), {"input_ids": tokens(VOCABULARY, LENGTH, generator), "labels": labels(generator)}


def predicted(generator: Generator) -> Inputs:
    """Tokens that are their own labels: the model shifts them by one."""
    sequence = tokens(VOCABULARY, LENGTH, generator)
    return (), {"input_ids": sequence, "labels": sequence}


def translated(generator: Generator) -> Inputs:
    return (), {
        "input_ids": tokens(VOCABULARY, LENGTH, generator),
        "labels": tokens(VOCABULARY, LENGTH - 3, generator),
    }


def pictures(generator: Generator) -> Inputs:
    return (), {"pixel_values": torch.randn(2, 3, 16, 16, generator=generator), "labels": labels(generator)}


def captioned(generator: Generator) -> Inputs:
    return (), {
        "input_ids": tokens(VOCABULARY, LENGTH, generator),
        "pixel_values": torch.randn(2, 3, 16, 16, generator=generator),
        "return_loss": True,
    }


def spoken(generator: Generator) -> Inputs:
    """Spectrograms of 16 mel bands and twice as many steps as the encoder has positions."""
    return (), {
        "input_features": torch.randn(2, 16, 20, generator=generator),
        "labels": tokens(VOCABULARY, LENGTH, generator),
    }


def waves(generator: Generator) -> Inputs:
    return (), {"input_values": torch.randn(2, 400, generator=generator), "labels": labels(generator)}


def transcribed(generator: Generator) -> Inputs:
    return (), {
        "input_values": torch.randn(2, 400, generator=generator),
        "labels": tokens(VOCABULARY, 4, generator),
    }


def unlabelled(generator: Generator) -> Inputs:
    return (), {"input_ids": tokens(VOCABULARY, LENGTH, generator)}


def specimen(
    name: str,
    model: str,
    config: str,
    draw: Draw,
    loss: Callable[[Any], Tensor] = own_loss,
    **options: Any,
) -> Specimen:
    """A model of transformers by the names of its class and its configuration's."""

    def make() -> nn.Module:
        import transformers

        built: nn.Module = getattr(transformers, model)(getattr(transformers, config)(**options))
        return built

    return Specimen(f"transformers/{name}", make, draw, loss, needs=("transformers",))


SPECIMENS = [
    specimen("gpt2-classifier", "GPT2ForSequenceClassification", "GPT2Config", labelled, num_labels=LABELS, **GPT2),
    specimen("gpt2-language", "GPT2LMHeadModel", "GPT2Config", predicted, **GPT2),
    specimen("bert-classifier", "BertForSequenceClassification", "BertConfig", labelled, **BERT),
    specimen("bert-masked", "BertForMaskedLM", "BertConfig", predicted, **BERT),
    specimen("bert-without-head", "BertModel", "BertConfig", unlabelled, distance, **BERT),
    specimen("roberta-classifier", "RobertaForSequenceClassification", "RobertaConfig", labelled, **BERT),
    specimen(
        "distilbert-classifier",
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        labelled,
        vocab_size=VOCABULARY,
        dim=WIDTH,
        hidden_dim=48,
        n_layers=2,
        n_heads=2,
        max_position_embeddings=16,
        dropout=0.0,
        attention_dropout=0.0,
        seq_classif_dropout=0.0,
        num_labels=LABELS,
    ),
    specimen(
        "albert-classifier", "AlbertForSequenceClassification", "AlbertConfig", labelled, embedding_size=16, **BERT
    ),
    specimen(
        "deberta-v2-classifier",
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        labelled,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        pooler_hidden_size=WIDTH,
        **BERT,
    ),
    specimen(
        "modernbert-classifier",
        "ModernBertForSequenceClassification",
        "ModernBertConfig",
        labelled,
        intermediate_size=48,
        max_position_embeddings=16,
        local_attention=4,
        num_labels=LABELS,
        cls_token_id=1,
        sep_token_id=1,
        **SIZES,
        **MARKS,
    ),
    specimen(
        "t5",
        "T5ForConditionalGeneration",
        "T5Config",
        translated,
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_heads=2,
        dropout_rate=0.0,
        decoder_start_token_id=0,
        use_cache=False,
        pad_token_id=0,
        eos_token_id=1,
    ),
    specimen("llama", "LlamaForCausalLM", "LlamaConfig", predicted, **LLAMA),
    specimen("llama-tied", "LlamaForCausalLM", "LlamaConfig", predicted, tie_word_embeddings=True, **LLAMA),
    specimen(
        "mixtral",
        "MixtralForCausalLM",
        "MixtralConfig",
        predicted,
        num_local_experts=3,
        num_experts_per_tok=2,
        output_router_logits=True,
        **LLAMA,
    ),
    specimen(
        "opt",
        "OPTForCausalLM",
        "OPTConfig",
        predicted,
        ffn_dim=48,
        word_embed_proj_dim=16,
        max_position_embeddings=16,
        dropout=0.0,
        use_cache=False,
        **SIZES,
        **MARKS,
    ),
    specimen(
        "mamba",
        "MambaForCausalLM",
        "MambaConfig",
        predicted,
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        state_size=4,
        num_hidden_layers=2,
        time_step_rank=4,
        use_cache=False,
        **MARKS,
    ),
    specimen("vit", "ViTForImageClassification", "ViTConfig", pictures, num_labels=LABELS, **VIT),
    specimen(
        "clip",
        "CLIPModel",
        "CLIPConfig",
        captioned,
        projection_dim=16,
        vision_config=VIT,
        text_config=SIZES | MARKS | {"intermediate_size": 48, "max_position_embeddings": 16},
    ),
    specimen(
        "whisper",
        "WhisperForConditionalGeneration",
        "WhisperConfig",
        spoken,
        vocab_size=VOCABULARY,
        d_model=WIDTH,
        num_mel_bins=16,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_source_positions=10,
        max_target_positions=16,
        decoder_start_token_id=1,
        use_cache=False,
        **MARKS,
    ),
    specimen("wav2vec2-classifier", "Wav2Vec2ForSequenceClassification", "Wav2Vec2Config", waves, **WAVES),
    specimen("wav2vec2-transcriber", "Wav2Vec2ForCTC", "Wav2Vec2Config", transcribed, **WAVES),
]
