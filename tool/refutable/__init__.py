"""Research claims about transformer internals as executable pytest tests."""
