"""CSVs, plain and compressed, by the readers of tables."""

import csv
import gzip
import io

import duckdb
import pandas
import polars
import zstandard

from checks import check, parse_csv, same, same_cells


def with_csv_module(text):
    lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    return lines[0], lines[1:]


def with_pandas(path):
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False, lineterminator="\n")
    return list(frame.columns), frame.values.tolist()


def with_polars(path):
    frame = polars.read_csv(path, infer_schema=False)
    # polars keeps doubled quotes in headers, and unescapes them in rows.
    return [name.replace('""', '"') for name in frame.columns], frame.rows()


def with_duckdb(path):
    # An all-text table. The options state RFC 4180 explicitly, because a few odd lines are too
    # little for detection.
    relation = duckdb.sql(
        "SELECT * FROM read_csv(?, header = true, all_varchar = true, delim = ',', quote = '\"', escape = '\"', "
        "new_line = '\\n', comment = '', allow_quoted_nulls = false)",
        params=[str(path)],
    )
    return relation.columns, relation.fetchall()


def csv_as_it_comes(path, expected):
    """With every reader's own defaults: as many rows, the same columns, and numbers where there are only numbers."""
    header, rows = expected
    for name, columns, height, dtypes in [
        ("pandas", *(lambda f: (list(f.columns), len(f), [str(t) for t in f.dtypes]))(pandas.read_csv(path))),
        ("polars", *(lambda f: (f.columns, f.height, [str(t) for t in f.dtypes]))(polars.read_csv(path, infer_schema_length=None))),
        ("duckdb", *(lambda r: (r.columns, len(r.fetchall()), [str(t) for t in r.types]))(duckdb.sql(f"FROM '{path}'"))),
    ]:
        same(f"{name}'s columns", header, list(columns))
        same(f"{name}'s rows", len(rows), height)
        for column, found in zip(header, dtypes):
            if not found.lower().startswith(("int", "float", "double", "bigint")):
                raise AssertionError(f"{name} takes {column} for {found}")
    return f"{len(rows)} rows, numbers in every column"


def check_all(folder, fleet):
    for output, ending in [("csv", "csv"), ("gzip", "csv.gz"), ("zstd", "csv.zst"), ("local", "csv"), ("unguarded", "csv"), ("filled", "csv")]:
        for path in sorted((folder / fleet / output).glob(f"*.{ending}")):
            what = f"{fleet}/{output}/{path.name}"
            packed = path.read_bytes()
            content = {"csv": lambda: packed, "csv.gz": lambda: gzip.decompress(packed)}.get(
                ending, lambda: zstandard.ZstdDecompressor().decompress(packed, max_output_size=1 << 30, read_across_frames=False)
            )()
            if output in ("gzip", "zstd"):
                plain = (folder / fleet / "csv" / path.name.removesuffix(".gz").removesuffix(".zst")).read_bytes()
                check(f"Python {output}", what, lambda: same("content", True, plain == content))
            text = content.decode("utf-8")
            expected = parse_csv(text)
            check("Python csv", what, lambda: same_cells(expected, with_csv_module(text), is_empty_null=True))
            check("pandas", what, lambda: same_cells(expected, with_pandas(path), is_empty_null=True))
            check("polars", what, lambda: same_cells(expected, with_polars(path)))
            # DuckDB drops blanks at the ends of column names.
            stripped = ([name.strip(" ") for name in expected[0]], expected[1])
            check("duckdb", what, lambda: same_cells(stripped, with_duckdb(path)))
            if fleet == "dense" and output != "local":
                check("defaults of pandas, polars, duckdb", what, lambda: csv_as_it_comes(path, expected))
