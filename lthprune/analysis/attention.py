"""Attention, written out in products of matrices and a softmax."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from lthprune.errors import PruningError


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Return what ``F.scaled_dot_product_attention`` computes, without dropout (Vaswani et al. 2017, equation 1).

    Args:
        query: (..., queries, dimensions).
        key: (..., positions, dimensions).
        value: (..., positions, features).
        attn_mask: (..., queries, positions), added to the scores; or booleans, false where a position is left out.
        dropout_p: unused; a network is analysed in evaluation mode.
        is_causal: whether a query leaves out the positions after its own.
        scale: of the scores; by default one over the root of the number of dimensions.
        enable_gqa: whether several heads of the query share one of the key and the value, on the third axis from the
            end.
    """
    if enable_gqa:
        repeats = query.shape[-3] // key.shape[-3]
        key, value = (torch.stack([each] * repeats, dim=-3).flatten(-4, -3) for each in (key, value))
    scores = torch.matmul(query, key.transpose(-2, -1)) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return torch.matmul(F.softmax(scores, dim=-1), value)


def multi_head(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    *,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    **others: Any,
) -> tuple[Tensor, Tensor | None]:
    """Return what ``F.multi_head_attention_forward`` computes in evaluation mode; its arguments are torch's.

    Raises:
        PruningError: the attention adds biases or zeros to the keys.
    """
    if bias_k is not None or bias_v is not None or add_zero_attn or key_padding_mask is not None:
        raise PruningError(
            "the analysis of neurons does not support attention with add_bias_kv, add_zero_attn or a key_padding_mask."
        )
    batched = query.ndim == 3
    if not batched:
        query, key, value = (each.unsqueeze(1) for each in (query, key, value))
    weights = (q_proj_weight, k_proj_weight, v_proj_weight) if in_proj_weight is None else in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    heads = []  # (batch x heads, positions, dimensions) each
    for each, weight, bias in zip((query, key, value), weights, biases, strict=True):
        own = F.linear(each, weight, bias)  # type: ignore[arg-type]
        heads.append(own.view(own.shape[0], -1, own.shape[-1] // num_heads).transpose(0, 1))
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros(attn_mask.shape).masked_fill(attn_mask, -torch.inf)  # true where a position is left out
    scores = torch.matmul(heads[0], heads[1].transpose(1, 2)) / math.sqrt(heads[0].shape[-1])
    shares = F.softmax(scores if attn_mask is None else scores + attn_mask, dim=-1)
    length, batch = query.shape[:2]
    mixed = torch.matmul(shares, heads[2]).transpose(0, 1).reshape(length, batch, -1)
    output = F.linear(mixed, out_proj_weight, out_proj_bias)
    shares = shares.view(batch, num_heads, length, -1)
    shares = shares.mean(1) if average_attn_weights else shares
    if not batched:
        output, shares = output.squeeze(1), shares.squeeze(0)
    return output, shares if need_weights else None
