"""CSVs in LibreOffice: the text of every cell, and no formula, whatever it splits lines at."""

import csv
import re
import tempfile
from pathlib import Path

from checks import check, has, parse_csv, program, same

# Codes of the characters between cells: comma, semicolon, tab, vertical bar, and comma or semicolon.
DELIMITERS = ["44", "59", "9", "124", "44/59"]
QUOTE, UTF_8, FIRST_LINE, TEXT = "34", "76", "1", "2"
FORMULA = re.compile(r'table:formula="([^"]*)"')


def convert(paths, delimiter, columns, target, folder):
    """Opens CSVs and writes them in another format; `columns` is the number of columns that are read as text."""
    formats = "/".join(f"{number}/{TEXT}" for number in range(1, columns + 1))
    profile = Path(tempfile.gettempdir()) / "readers-soffice"
    program(
        "soffice", f"-env:UserInstallation={profile.as_uri()}", "--headless",
        f"--infilter=CSV:{delimiter},{QUOTE},{UTF_8},{FIRST_LINE},{formats}",
        "--convert-to", target, "--outdir", str(folder), *map(str, paths),
    )


def line_ends(text):
    # A line break in a cell has one form.
    return (text or "").replace("\r\n", "\n").replace("\r", "\n")


def same_texts(path):
    header, rows = parse_csv(path.read_bytes().decode("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        convert([path], "44", len(header), f"csv:Text - txt - csv (StarCalc):44,{QUOTE},{UTF_8},1,,0,true", folder)
        with open(Path(folder) / path.name, encoding="utf-8", newline="") as file:
            found = list(csv.reader(file, strict=True))
    for expected, line in zip([header, *rows], found):
        same("a line", [line_ends(cell) for cell in expected], [line_ends(cell) for cell in line])
    same("lines", len(rows) + 1, len(found))
    return f"{len(rows)} rows"


def formulas(paths, delimiter):
    with tempfile.TemporaryDirectory() as folder:
        convert(paths, delimiter, 0, "fods", folder)
        written = list(Path(folder).iterdir())
        same("files", len(paths), len(written))
        return [formula for path in written for formula in FORMULA.findall(path.read_text(encoding="utf-8"))]


def no_formula(paths):
    for delimiter in DELIMITERS:
        same(f"formulas with the delimiters {delimiter}", [], formulas(paths, delimiter))
    return f"{len(paths)} files, split in {len(DELIMITERS)} ways"


def some_formulas(paths):
    """Without the guard there are formulas, so the check above can fail."""
    for delimiter in DELIMITERS:
        if not formulas(paths, delimiter):
            raise AssertionError(f"no formula with the delimiters {delimiter}")


def check_all(folder, fleet):
    if not has("soffice", "libreoffice-calc"):
        return
    guarded = sorted((folder / fleet / "csv").glob("*.csv"))
    check("LibreOffice, formulas", f"{fleet}/csv", lambda: no_formula(guarded))
    for path in guarded:
        check("LibreOffice, texts", f"{fleet}/csv/{path.name}", lambda: same_texts(path))
    if fleet == "values":
        unguarded = sorted((folder / fleet / "unguarded").glob("*values.csv"))
        check("LibreOffice, formulas without the guard", f"{fleet}/unguarded", lambda: some_formulas(unguarded))
