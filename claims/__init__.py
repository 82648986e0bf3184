"""The claims: one folder per study, one file per finding."""
