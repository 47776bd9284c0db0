"""The vocabulary that every other package shares. Imports nothing of the project."""
