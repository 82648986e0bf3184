"""Says where this suite's own data lie; everything else is the plugin's."""

from pathlib import Path


def pytest_refutable_data() -> Path:
    return Path(__file__).parent / "fixtures"
