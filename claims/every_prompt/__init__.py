"""Claims about every prompt, which a search attacks: theorems, what the tool relies on, sinks.

A theorem that is found to fail is a fault of the model's file or of the instrument. Beside it
stands the near-theorem that looks like it and is wrong.
"""
