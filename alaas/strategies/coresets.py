"""Small sets that stand for a whole pool."""
