"""Items that a classifier can tell from what is labelled."""
