"""`make bench`: every benchmark after the other, each in a process of its own; `make bench SIZES="1e6 1e7 5e7"` for larger ones.

Speed is told as ratios against a peer in the same run: absolute times are the machine's, not ours.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main() -> None:
    """Run them all; ends with the number of those that failed."""
    sizes = os.environ.get("SIZES", "1e6 1e7").split()
    seeds = os.environ.get("SEEDS", "20")
    audits = os.environ.get("AUDITS", "5")
    failed = 0
    for title, module, arguments in (
        ("governed features ÷ the same SQL on plain DuckDB", "features", sizes),
        ("whole builds as events grow", "builds", sizes),
        ("admission", "admission", sizes),
        ("a sweep after one withdrawal", "sweep", ["1e6"]),
        ("the log: singles, batches, proofs, and a whole one verified", "log", [os.environ.get("ENTRIES", "1e6")]),
        ("estimated bounds of skewed features", "bounds", [seeds]),
        ("DP clusters: inertia ÷ best of non-private restarts", "clusters", [seeds]),
        ("forecasts: how often a build is as good as was said", "forecast", []),
        ("DP propensity: AUC lost against non-private logistic regression", "propensity", [seeds]),
        ("deep models beside shallow ones and beside no privacy", "deep", []),
        ("DP uplift: Qini on Hillstrom ÷ that of the non-private T-learner", "uplift", [seeds]),
        ("DP value beside ridge regression", "value", [seeds]),
        ("joint segments of three partners beside central ones", "joint", [seeds]),
        ("ours beside other libraries", "peers", [seeds]),
        ("what privacy costs: each trainer beside its non-private twin", "cost", [seeds]),
        ("secure rounds: ten agents over TLS, a hundred partners in one process, and Flower's own", "rounds", []),
        ("noise a quarter of what is claimed, and true noise, by the privacy audit", "privacy_audit", [audits]),
    ):
        print(f"\n== {title}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.benchmarks.{module}", *arguments], check=False).returncode != 0
    raise SystemExit(failed)


if __name__ == "__main__":
    main()
