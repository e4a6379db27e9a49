"""The time of one forward pass: counted work, priced; the one interface that all others read."""
