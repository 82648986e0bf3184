"""A figure and a job that a worker can import, for tests of what is done by two."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from refutable.system import worker

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def line(table: pd.DataFrame) -> Figure:
    """Draw the columns x and y of a table."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot(table["x"], table["y"])
    plt.close(figure)
    return figure


if __name__ == "__main__":
    # Says how much it was told, and then works for as long as it was told to.
    text, seconds = worker.receive()
    sys.stdout.write(f"{len(text)} letters")
    sys.stdout.flush()
    time.sleep(seconds)
