"""How alike models represent the same prompts."""
