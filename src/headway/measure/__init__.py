"""Reality: what engines and endpoints really take, measured with its doubt."""
