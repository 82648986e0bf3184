"""What linear probes read off the residual stream."""
