"""Nearest neighbours of what is labelled or referred to."""
