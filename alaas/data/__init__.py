"""From what a user names to what a model can see: sources, fetch, decode."""
