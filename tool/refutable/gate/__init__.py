"""Two runs compared: what changed from one release to the next."""
