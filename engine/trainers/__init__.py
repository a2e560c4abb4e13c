"""Trainers: each takes a cohort behind the door and gives a released model."""
