"""Parquet files by the readers of tables: types, and the cells of the CSV of the same request."""

import math

import duckdb
import pandas
import polars
import pyarrow
import pyarrow.parquet

from checks import check, parse_csv, same


def same_parquet(expected, types, columns, rows):
    """Cells of a parquet file against those of the unguarded CSV. `types` are "double" or "string" by column after the time."""
    header, wanted = expected
    same("columns", header, list(columns))
    same("rows", len(wanted), len(rows))
    for number, (row, found) in enumerate(zip(wanted, rows)):
        same(f"time of row {number}", int(row[0]), found[0])
        for column, kind, text, cell in zip(header[1:], types, row[1:], found[1:]):
            if text is None or cell is None:
                is_same = text == cell
            elif kind == "string":
                # A CSV has no NUL.
                is_same = text == cell.replace("\0", "\ufffd")
            else:
                value = float(text)
                is_same = isinstance(cell, float) and (value == cell or (math.isnan(value) and math.isnan(cell)))
            if not is_same:
                raise AssertionError(f"row {number}, {column!r} ({kind}): the CSV has {text!r}, the file {cell!r}")
    return f"{len(wanted)} rows, {', '.join(types)}"


def arrow_types(path):
    schema = pyarrow.parquet.read_schema(path)
    time = schema.field(0)
    same("time", ("time", "timestamp[ms, tz=UTC]", False), (time.name, str(time.type), time.nullable))
    for field in list(schema)[1:]:
        if str(field.type) not in ("double", "string") or not field.nullable:
            raise AssertionError(f"{field}")
    return [str(field.type) for field in list(schema)[1:]]


def with_pyarrow(path, expected):
    types = arrow_types(path)
    file = pyarrow.parquet.ParquetFile(path)
    codecs = {
        file.metadata.row_group(group).column(column).compression
        for group in range(file.metadata.num_row_groups)
        for column in range(file.metadata.num_columns)
    }
    if not codecs <= {"ZSTD"}:
        raise AssertionError(f"codecs {codecs}")
    table = file.read()
    columns = [table.column(0).cast("int64").to_pylist()] + [column.to_pylist() for column in table.columns[1:]]
    said = same_parquet(expected, types, table.column_names, list(zip(*columns)))
    return f"{said}, {file.metadata.num_row_groups} row groups"


def pandas_parquet(path, expected):
    frame = pandas.read_parquet(path)
    same("time", "datetime64[ms, UTC]", str(frame.dtypes.iloc[0]))
    times = frame.iloc[:, 0].astype("int64").tolist()
    table = pyarrow.Table.from_pandas(frame, preserve_index=False)
    # pandas does not distinguish a blank and a NaN.
    header, rows = expected
    types = arrow_types(path)
    for index, kind in enumerate(types, start=1):
        found = frame.iloc[:, index].tolist()
        for row, cell in zip(rows, found):
            if kind == "double":
                value = math.nan if row[index] is None else float(row[index])
                is_same = value == cell or (math.isnan(value) and math.isnan(cell))
            else:
                is_same = pandas.isna(cell) if row[index] is None else row[index] == cell.replace("\0", "\ufffd")
            if not is_same:
                raise AssertionError(f"{header[index]!r}: the CSV has {row[index]!r}, the file {cell!r}")
    same("times", [int(row[0]) for row in rows], times)
    return f"{table.num_rows} rows"


def duckdb_parquet(path, expected):
    types = arrow_types(path)
    relation = duckdb.sql("SELECT * FROM read_parquet(?)", params=[str(path)])
    kinds = {"double": "DOUBLE", "string": "VARCHAR"}
    same("types", ["TIMESTAMP WITH TIME ZONE"] + [kinds[kind] for kind in types], [str(kind) for kind in relation.types])
    columns = relation.columns
    for index, kind in enumerate(types, start=1):
        if kind != "double":
            continue
        # A filter skips row groups by their statistics, which leave NaN out.
        column = columns[index].replace('"', '""')
        filtered = duckdb.sql(f'SELECT count(*) FROM read_parquet(?) WHERE isnan("{column}")', params=[str(path)])
        wanted = sum(row[index] is not None and math.isnan(float(row[index])) for row in expected[1])
        same(f"NaN in {columns[index]!r}", wanted, filtered.fetchall()[0][0])
    relation = duckdb.sql("SELECT epoch_ms(time), * EXCLUDE (time) FROM read_parquet(?)", params=[str(path)])
    return same_parquet(expected, types, columns, relation.fetchall())


def polars_parquet(path, expected):
    types = arrow_types(path)
    frame = polars.read_parquet(path)
    kinds = {"double": polars.Float64, "string": polars.String}
    same("types", [polars.Datetime("ms", "UTC")] + [kinds[kind] for kind in types], frame.dtypes)
    rows = frame.with_columns(polars.col("time").dt.epoch("ms")).rows()
    return same_parquet(expected, types, frame.columns, rows)


def check_all(folder, fleet):
    for output, csvs in [("parquet", "unguarded"), ("filled_parquet", "filled")]:
        for path in sorted((folder / fleet / output).glob("*.parquet")):
            what = f"{fleet}/{output}/{path.name}"
            expected = parse_csv((folder / fleet / csvs / f"{path.stem}.csv").read_bytes().decode("utf-8"))
            check("pyarrow", what, lambda: with_pyarrow(path, expected))
            check("pandas", what, lambda: pandas_parquet(path, expected))
            check("duckdb", what, lambda: duckdb_parquet(path, expected))
            check("polars", what, lambda: polars_parquet(path, expected))
