"""Messages over Flower: a SuperLink that carries bytes, an agent at each partner, and the coordinator's courier.

Flower is transport and nothing else: it sees requests and replies as bytes, and what keeps partners' rows from it is what those bytes are
(`federated.masking`). Its secure aggregation, its differential privacy, its apps and their dependencies are not used.
"""
