"""The demo: two workspaces on purchases that anyone can get from PyPI, with consents that are generated and say so."""
