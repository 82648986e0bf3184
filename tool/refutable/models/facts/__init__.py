"""What the files of a model say, as facts that two releases can be compared by without either."""
