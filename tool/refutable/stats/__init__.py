"""Statistics: arrays in, records out; see `refutable.stats.decide` for how a verdict is made."""
