"""Attention to, and importance of, thoughts: hidden states fed back, or written steps."""
