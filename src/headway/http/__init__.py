"""The wire, once."""
