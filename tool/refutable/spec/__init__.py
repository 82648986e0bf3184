"""What a claim states: its form, the models it speaks of, its prompts, its cells."""
