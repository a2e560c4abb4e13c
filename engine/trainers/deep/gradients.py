"""Per-sample gradients by Opacus: the steps that the door runs while a network is trained.

A step is pure: it makes the network from the weights that it is given, and forgets it. Opacus keeps one gradient a sample
(Yousefpour et al. 2021); its optimiser, sampler, noise and accountant are not used, because they would take the divisor of the mean
from the private number of subjects, and randomness from a generator that is not the operating system's. Clip and noise are the door's.

Neighbours: add or remove one subject. Sensitivity: the bound of the query, by the door's clip. Gradients are of batches in floating
point, so that the last bits of one may depend on the others: see `governance.sampling`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.scale import UNIT
from engine.trainers.deep.dense import Shape
from governance.door import Array, Batch, Contribution, register

if TYPE_CHECKING:
    import torch

NETWORK, AUTOENCODER = "deep.network", "deep.autoencoder"

FARTHEST = 4.0
"""Framed values are cut here, so that one odd row does not fill its gradient with a single feature."""


@register(NETWORK)
def network(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, size): gradients of the logistic loss of `label`, by weights in the order of `Shape`."""
    import torch

    labels = torch.from_numpy(batch["label"].astype(np.float32))
    rows = _framed(batch, parameters)
    return _per_sample(
        rows, parameters, lambda out: torch.nn.functional.binary_cross_entropy_with_logits(out[:, 0], labels, reduction="sum")
    )


@register(AUTOENCODER)
def autoencoder(batch: Batch, parameters: Mapping[str, Array]) -> Contribution:
    """Values (n, size): gradients of the mean square error of a row's reconstruction, by weights in the order of `Shape`."""
    rows = _framed(batch, parameters)
    return _per_sample(rows, parameters, lambda out: ((out - rows) ** 2).mean(dim=1).sum())


def _framed(batch: Batch, parameters: Mapping[str, Array]) -> torch.Tensor:
    """(n, d) rows less `mean`, times `matrix`, cut."""
    import torch

    rows = (batch["features"] / UNIT - parameters["mean"]) @ parameters["matrix"]
    return torch.from_numpy(np.clip(rows, -FARTHEST, FARTHEST).astype(np.float32))


def _per_sample(rows: torch.Tensor, parameters: Mapping[str, Array], loss: Callable[[torch.Tensor], torch.Tensor]) -> Contribution:
    """`loss` of the network's outputs (n, outputs), summed over samples; `widths` of layers, and `weights` (size,)."""
    import torch
    from opacus.grad_sample import GradSampleModule  # type: ignore[import-untyped]  # it ships no types

    shape = Shape(tuple(int(width) for width in parameters["widths"]))
    layers: list[Any] = []  # Opacus puts gradients on parameters that no type knows of
    for matrix in shape.layers(parameters["weights"]):
        layer = torch.nn.Linear(*matrix[:-1].shape)
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(matrix[:-1].T.copy()))
            layer.bias.copy_(torch.from_numpy(matrix[-1].copy()))
        layers.append(layer)
    chained = [module for layer in layers[:-1] for module in (layer, torch.nn.Tanh())]
    net = GradSampleModule(torch.nn.Sequential(*chained, layers[-1]), loss_reduction="sum")
    # an input that asks for no gradient makes torch warn of the hook by which Opacus looks
    loss(net(rows.clone().requires_grad_())).backward()  # type: ignore[no-untyped-call]
    found = []
    for layer in layers:
        weight, bias = (parameter.grad_sample.numpy() for parameter in layer.parameters())
        found.append(np.concatenate([weight.transpose(0, 2, 1), bias[:, None, :]], axis=1).reshape(len(rows), -1))
    return Contribution(np.concatenate(found, axis=1).astype(np.float64))
