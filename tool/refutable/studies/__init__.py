"""The studies: for each what only it can have, and the catalogue that finds claims."""
