"""What to buy, how sure that is, what the doubt costs, and what to measure first."""
