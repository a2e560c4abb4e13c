"""The transparency log, checkpoints, passports, fairness statistics and reports: what convinces an outsider."""
