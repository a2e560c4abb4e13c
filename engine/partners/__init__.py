"""A partner's home in a collaboration: its keys, its contract, its people in every round, and what it writes down of what left."""
