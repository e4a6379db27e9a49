"""Published models, exactly as they were published. Ours stands beside them."""
