"""The predictions behind the words of `refutable.predictions`."""
