"""What a gateway wrote down: read by simulations, training and reports."""
