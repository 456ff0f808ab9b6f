"""Do other people's programs open the engine's results, and do they find what is in them?

Called by `cargo xtask readers` with the folder that the example `results` has written. What a cell is, is read from the plain CSVs
by the few lines of `checks.parse_csv`, which know the difference between nothing and an empty string; every other reader must agree.
"""

import argparse
import sys
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow
import zstandard

import checks
import csvs
import parquets
import sheets
import zips


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--large", action="store_true")
    arguments.add_argument("--allow-missing", action="store_true")
    arguments = arguments.parse_args()
    arguments.folder = arguments.folder.resolve()
    versions = [
        f"Python {sys.version.split()[0]}",
        *(f"{module.__name__} {module.__version__}" for module in (pyarrow, duckdb, polars, pandas, zstandard)),
    ]
    print(f"  readers    {', '.join(versions)}", flush=True)
    if arguments.large:
        zips.check_large(arguments.folder)
    else:
        for fleet in ("odd", "values", "names", "dense"):
            zips.check_small(arguments.folder, fleet)
            csvs.check_all(arguments.folder, fleet)
            parquets.check_all(arguments.folder, fleet)
            if fleet != "dense":
                sheets.check_all(arguments.folder, fleet)
    left_out = sorted(set(checks.missing))
    print(f"  {checks.passed} checks passed, {len(checks.failures)} failed, readers missing: {', '.join(left_out) or 'none'}")
    if checks.failures or (left_out and not arguments.allow_missing):
        sys.exit(1)


main()
