"""What good is, defined once."""
