"""Joint segments, from the coordinator's side: contracts that partners sign, rounds that resume, a model, and the evidence of all that."""
