"""Consent, admission, minimisation, the noisy door and the budget ledger: what stands between data and everyone."""
