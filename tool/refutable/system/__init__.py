"""What the process has: paths, files, progress, memory, a worker process."""
