"""Deep models: small networks trained by private stochastic gradients. Needs the extra `deep`; torch is imported where it computes."""
