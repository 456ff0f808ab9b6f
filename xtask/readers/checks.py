"""Checks that are counted, the programs that they run, and what a CSV says without anybody's help."""

import os
import shutil
import subprocess

# Longest wait for a program that reads gigabytes on a slow machine.
PROGRAM_SECONDS = 900
# Locales in which programs understand names that are not ASCII.
ENVIRONMENT = {**os.environ, "LC_ALL": "C.UTF-8"}

passed = 0
failures = []
missing = []


def check(reader, what, work):
    """Runs one check; what it returns is said behind the reader's name."""
    global passed
    try:
        said = work()
    except Exception as error:  # Whatever a reader says against a file is a failure of this check, and the others go on.
        failures.append(f"{reader}: {what}")
        print(f"  FAILED     {reader}: {what}: {str(error)[:1000]}", flush=True)
        return
    passed += 1
    print(f"  ok         {reader}: {what}{': ' + said if said else ''}", flush=True)


def program(*command, cwd=None):
    """Standard output of a program that must succeed."""
    ran = subprocess.run(command, capture_output=True, env=ENVIRONMENT, cwd=cwd, timeout=PROGRAM_SECONDS)
    if ran.returncode != 0:
        raise AssertionError(f"{command[0]} ended with {ran.returncode}: {(ran.stdout + ran.stderr)[-500:]!r}")
    return ran.stdout


def same(what, expected, found):
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}"[:1000])


def has(name, package):
    if shutil.which(name):
        return True
    missing.append(name)
    print(f"  MISSING    {name} is not installed (Debian package {package}): NOT CHECKED", flush=True)
    return False


def parse_csv(text):
    """Header and rows as RFC 4180 has them; an unquoted empty cell is None."""
    if not text.endswith("\n"):
        raise AssertionError("the last line does not end")
    if '"' not in text:
        if "\r" in text:
            raise AssertionError("a CR without quotes")
        lines = [[cell or None for cell in line.split(",")] for line in text[:-1].split("\n")]
    else:
        lines, cells, at = [], [], 0
        while at < len(text):
            if text[at] == '"':
                cell, at = "", at + 1
                while True:
                    end = text.index('"', at)
                    cell, at = cell + text[at:end], end + 1
                    if text[at] != '"':
                        break
                    cell, at = cell + '"', at + 1
            else:
                end = at
                while text[end] not in ',\n"\r':
                    end += 1
                cell, at = text[at:end] or None, end
            cells.append(cell)
            if text[at] == "\n":
                lines.append(cells)
                cells = []
            elif text[at] != ",":
                raise AssertionError(f"{text[at]!r} behind a cell")
            at += 1
            if text[at - 1] == "," and at == len(text):
                raise AssertionError("the last line does not end")
    header, rows = lines[0], lines[1:]
    for row in rows:
        same("cells of a row", len(header), len(row))
    return header, rows


def same_cells(expected, found, is_empty_null=False):
    """Compares (header, rows); with is_empty_null the reader cannot tell nothing from an empty string."""
    (header, rows), (found_header, found_rows) = expected, found
    same("header", header, list(found_header))
    same("rows", len(rows), len(found_rows))
    for number, (row, other) in enumerate(zip(rows, found_rows)):
        wanted = [cell or "" for cell in row] if is_empty_null else row
        if wanted != list(other):
            raise AssertionError(f"row {number}: expected {wanted!r}, got {list(other)!r}")
    return f"{len(rows)} rows"
