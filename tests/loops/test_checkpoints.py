"""Averages and checkpoints of the weights: kept in a training, over levels, and in files."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

import lthprune
from lthprune.errors import PruningError
from lthprune.pruning.state import masks_of
from tests.loops.checked import FORMS, batch_of, loss_of, search
from tests.nets import net, outputs


def fit(model: nn.Module, steps: int = 4, optimizer: torch.optim.Optimizer | None = None) -> None:
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()


def regrown(model: nn.Module, masks: dict[str, Tensor]) -> int:
    parameters = dict(model.named_parameters())
    return sum(int((parameters[name][~mask] != 0).sum()) for name, mask in masks.items())


def test_an_average_of_the_weights_by_hand_has_zeros_where_the_model_has() -> None:
    def train(model: nn.Module) -> None:
        average = copy.deepcopy(model).requires_grad_(False)
        optimizer = torch.optim.AdamW(model.parameters(), 0.05)
        for step in range(4):
            optimizer.zero_grad()
            loss_of(model, step).backward()
            optimizer.step()
            for mine, its in zip(average.parameters(), model.parameters(), strict=True):
                mine.lerp_(its, 0.1)
        assert regrown(average, masks_of(model)) == 0
        assert not outputs(average).equal(outputs(model))
        model.load_state_dict(average.state_dict())

    tickets = search(net(), train)
    assert len(tickets) == 3


@pytest.mark.parametrize("loaded", [False, True])
def test_averaged_models_of_torch_keep_the_masks(loaded: bool) -> None:
    def train(model: nn.Module) -> None:
        ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        swa = AveragedModel(model)
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        scheduler = SWALR(optimizer, swa_lr=0.05, anneal_epochs=2)
        for step in range(5):
            optimizer.zero_grad()
            loss_of(model.train(), step).backward()
            optimizer.step()
            scheduler.step()
            ema.update_parameters(model)
            swa.update_parameters(model)
        update_bn([batch_of(step)[0] for step in range(3)], swa)
        for average in (ema, swa):
            assert regrown(average.module, masks_of(model)) == 0
            assert outputs(average).isfinite().all()
        if loaded:
            model.load_state_dict(swa.module.state_dict())

    search(net("normalised"), train)


@pytest.mark.parametrize("form", FORMS)
def test_the_best_checkpoint_of_a_training_can_be_loaded_at_its_end(form: str) -> None:
    def train(model: nn.Module) -> dict[str, float]:
        best, state = float("inf"), {}
        optimizer = torch.optim.SGD(model.parameters(), 0.3, momentum=0.9)
        for step in range(5):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            if loss.item() < best:
                best, state = loss.item(), copy.deepcopy(model.state_dict())
            loss.backward()
            optimizer.step()
        model.load_state_dict(state)
        with torch.no_grad():
            return {"loss": float(loss_of(model, 0))}

    search(net(), train, form=form)


@pytest.mark.parametrize("evaluated", [0, 1, 2])
def test_best_weights_kept_over_levels_and_copied_through_data_are_refused_evaluated_or_not(evaluated: int) -> None:
    best: list[Tensor] = []

    def train(model: nn.Module) -> None:
        fit(model)
        best[:] = best or [parameter.detach().clone() for parameter in model.parameters()]
        for parameter, kept in zip(model.parameters(), best, strict=True):
            parameter.data.copy_(kept)
        for _ in range(evaluated):
            outputs(model)

    with pytest.raises(PruningError, match=r"pruned weights are not zero in '1\.weight', '3\.weight', '5"):
        lthprune.imp(net(), train, levels=1, rate=0.5)


@pytest.mark.parametrize("evaluated", [False, True])
@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_a_best_checkpoint_kept_over_levels_is_refused(form: str, by_hand: bool, evaluated: bool) -> None:
    best: list[dict[str, Tensor]] = []

    def train(model: nn.Module) -> dict[str, float]:
        if by_hand:
            for step in range(4):
                model.zero_grad()
                loss_of(model, step).backward()
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter -= 0.1 * parameter.grad
        else:
            fit(model)
        if not best:
            best.append(copy.deepcopy(model.state_dict()))
        if form == "torch" and "1.weight_orig" in model.state_dict() and "1.weight" in best[0]:
            best[0] = {name: best[0][name] for name in best[0]} and copy.deepcopy(model.state_dict())
        model.load_state_dict(best[0])
        if not evaluated:
            return {}
        with torch.no_grad():
            return {"loss": float(loss_of(model.eval(), 0))}

    with pytest.raises(PruningError, match=r"after train\(\), pruned weights are not zero|changed the masks of"):
        lthprune.imp(net(), train, levels=2, rate=0.5, form=form)


@pytest.mark.parametrize("evaluated", [False, True])
def test_dense_weights_copied_back_from_a_fresh_model_are_refused(evaluated: bool) -> None:
    def train(model: nn.Module) -> dict[str, float]:
        fresh = net(seed=3)
        fit(fresh)
        model.load_state_dict(fresh.state_dict())
        if not evaluated:
            return {}
        with torch.no_grad():
            return {"loss": float(loss_of(model.eval(), 0))}

    with pytest.raises(PruningError, match=r"after train\(\), pruned weights are not zero.*train the model that train"):
        lthprune.imp(net(), train, levels=2, rate=0.5)


@pytest.mark.parametrize("what", ["state", "state of parameters", "list", "parameter"])
def test_files_of_weights_are_read_as_before_pruning(what: str) -> None:
    """With ``weights_only``, torch's default, which loads nothing of lthprune."""

    def train(model: nn.Module) -> None:
        fit(model)
        kept: object = {
            "state": model.state_dict(),
            "state of parameters": dict(model.state_dict(keep_vars=True)),
            "list": list(model.parameters()),
            "parameter": model[1].weight,
        }[what]
        file = io.BytesIO()
        torch.save(kept, file)
        file.seek(0)
        assert b"lthprune.pruning.zero_hooks" not in file.getvalue()
        torch.testing.assert_close(torch.load(file, weights_only=True), kept)

    search(net(), train)


def test_dense_weights_may_be_masked_at_the_end_by_refresh() -> None:
    def train(model: nn.Module) -> None:
        fit(model)
        model.load_state_dict(net(seed=3).state_dict())
        lthprune.pruning.refresh(model)
        with torch.no_grad():
            loss_of(model, 0)

    search(net(), train)
