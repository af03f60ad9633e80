"""A user's own task: its code, its class, and what is known of it before any training."""
