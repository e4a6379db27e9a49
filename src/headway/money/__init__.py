"""What an hour of an accelerator costs."""
