"""Prints what privacy costs an uplift, everything paid: `python -m tests.benchmarks.uplift [SPLITS]`.

Hillstrom's e-mail test (`CONSENTRIC_DATA_DIR`), visits: mean Qini coefficient on the hold-outs of paired splits, ÷ that of the non-private
linear T-learner (two logistic regressions of scikit-learn). The interval of the ratio is a paired bootstrap over splits; splits
share subjects, so that it tells how the ratio hangs on splits and noise, not on whom the campaign happened to reach.
Goal, for the women's arm at ε 1: >= 0.85.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from governance.accounting import mu_squared_of
from governance.noise import SystemNoise
from tests.trials import Trial, hillstrom, persuadable, qini_of, qini_without_privacy, tried


def measure(name: str, trial: Trial, epsilons: tuple[float, ...], splits: int) -> None:
    """Lines of the table."""
    parts = [trial.part(seed) for seed in range(splits)]
    without = np.array([qini_without_privacy(trial, part) for part in parts])
    again = np.random.default_rng(0).integers(0, splits, (10_000, splits))
    n, d = trial.features.shape
    for epsilon in epsilons:
        models = [tried(trial, part, mu_squared_of(epsilon, 1e-5), SystemNoise()).model for part in parts]
        ours = np.array([qini_of(model.score(trial.features), trial, part) for model, part in zip(models, parts, strict=True)])
        low, high = np.quantile(ours[again].mean(axis=1) / without[again].mean(axis=1), [0.025, 0.975])
        ratio = ours.mean() / without.mean()
        print(
            f"{name:16} {n:6} x {d:2} {epsilon:5} {ours.mean():9.5f} {without.mean():9.5f} {ratio:6.3f} ({low:.3f} to {high:.3f})",
            flush=True,
        )


def main() -> None:
    """Print the table."""
    splits = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"{'trial':16} {'n x d':>11}     ε      ours   without  ratio, 95 %   ({splits} paired splits)")
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        measure("Hillstrom, women", hillstrom(Path(folder)), (0.3, 0.5, 1.0, 3.0), splits)
        measure("Hillstrom, men", hillstrom(Path(folder), "Mens E-Mail"), (1.0,), splits)
    measure("generated", persuadable(20_000, 1), (0.3, 1.0), splits)


if __name__ == "__main__":
    main()
