"""Run the measurements: ``python -m bench [name …]``; JSON lines first, then a table."""

import argparse
import importlib
import os
import platform

from bench.figures import Figure, table

BENCHES = ("startup", "idle", "gateway", "runs", "trust", "simulated")


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(BENCHES))
    names = parser.parse_args().names or BENCHES
    if unknown := set(names) - set(BENCHES):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    figures: list[Figure] = []
    for name in names:
        for figure in importlib.import_module(f"bench.{name}").measure():
            print(figure.line(), flush=True)
            figures.append(figure)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print(table(figures))


if __name__ == "__main__":
    main()
