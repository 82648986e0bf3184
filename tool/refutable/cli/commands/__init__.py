"""Commands, a file each; every module here is found by name."""
