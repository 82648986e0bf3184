"""What `refutable init` lays out and `refutable claims new` writes."""
