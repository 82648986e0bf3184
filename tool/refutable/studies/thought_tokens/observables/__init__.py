"""Observables that need the thought twins' task: what value a thought holds, and steering by it."""
