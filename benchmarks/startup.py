"""How long the program takes to say what it can do: wall time of fresh processes, as a Markdown table.

python benchmarks/startup.py --repeats 10
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import time

COMMANDS = (["--help"], ["train", "--help"], ["--version"], ["profiles", "list"], ["runs"])
BUDGET_SECONDS = 0.3


def measure(arguments: list[str], repeats: int) -> list[float]:
    """Wall seconds of each of ``repeats`` runs, after one that warms the file cache."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return times[1:]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=10, help="processes for each row")
    repeats = parser.parse_args().repeats
    rows = {"python -c pass": [sys.executable, "-c", "pass"]}
    rows |= {f"geotrap {' '.join(words)}": [sys.executable, "-m", "geotrap_cli", *words] for words in COMMANDS}
    print(f"Python {platform.python_version()}, {platform.machine()}, {repeats} processes each.")
    print(f"Help may take {BUDGET_SECONDS} s.\n")
    print("| command | median s | fastest s | slowest s |")
    print("|---|---|---|---|")
    for name, arguments in rows.items():
        times = measure(arguments, repeats)
        print(f"| `{name}` | {statistics.median(times):.3f} | {min(times):.3f} | {max(times):.3f} |")


if __name__ == "__main__":
    main()
