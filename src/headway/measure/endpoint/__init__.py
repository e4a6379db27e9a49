"""A black box, probed within a budget."""
