"""A streaming exporter as a competent Python programmer would write it: the peer of the benchmark.

One ordered cursor per parameter, merged by time, written as CSV into a zip that is uploaded while it is written. It never holds
more than a few documents per parameter. The same CSV as the service's, zeros kept; clean data are taken for granted.
"""

import argparse
import csv
import heapq
import io
import itertools
import json
import operator
import os
import resource
import threading
import time
import zipfile

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from pymongo import ASCENDING, MongoClient

FIRST_PARAMETERS = ["soc", "speed", "current", "odo", "voltage"]
BATCH_DOCUMENTS = 24
PART_BYTES = 8 * 1024 * 1024
TEXT_BUFFER_BYTES = 256 * 1024


def hour_points(document, column):
    """The document's points as (time, column, value), by time."""
    start = document["_id"]
    points = []
    for five_minutes, outer in document["values"].items():
        outer_start = start + int(five_minutes)
        for minute, middle in outer["values"].items():
            middle_start = outer_start + int(minute)
            for bucket, inner in middle["values"].items():
                inner_start = middle_start + int(bucket)
                points += [(inner_start + int(key), column, value) for key, value in inner["values"].items()]
    points.sort()
    return points


def column_points(collection, column, hours):
    cursor = collection.find(hours, batch_size=BATCH_DOCUMENTS).sort("_id", ASCENDING)
    for document in cursor:
        yield from hour_points(document, column)


def rows(database, parameters, hours):
    """One row per time, with the values of all parameters that have a point at it."""
    streams = [column_points(database[name], column, hours) for column, name in enumerate(parameters, 1)]
    blank = [None] * (len(parameters) + 1)
    for point_time, points in itertools.groupby(heapq.merge(*streams), key=operator.itemgetter(0)):
        row = blank.copy()
        row[0] = point_time
        for _, column, value in points:
            # 45.0 is written as 45.
            row[column] = int(value) if type(value) is float and value.is_integer() else value
        yield row


def write_archive(client, vehicles, parameters, hours, level, target):
    """Writes the zip and returns its entries and how many rows there are."""
    row_count = 0
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for vehicle in vehicles:
            with archive.open(f"{vehicle}.csv", "w", force_zip64=True) as entry:
                buffered = io.BufferedWriter(entry, TEXT_BUFFER_BYTES)
                text = io.TextIOWrapper(buffered, encoding="utf-8", newline="", write_through=False)
                writer = csv.writer(text, lineterminator="\n")
                writer.writerow(["time", *parameters])
                counter = itertools.count()
                counted = map(operator.itemgetter(0), zip(rows(client[vehicle], parameters, hours), counter))
                writer.writerows(counted)
                row_count += next(counter)
                text.flush()
                text.detach()
                buffered.flush()
        return archive.infolist(), row_count


def column_order(client, vehicles):
    names = {name for vehicle in vehicles for name in client[vehicle].list_collection_names()}
    return [name for name in FIRST_PARAMETERS if name in names] + sorted(names - set(FIRST_PARAMETERS))


def upload(client, arguments, vehicles, parameters, hours):
    """Uploads the archive through a pipe, so that compressing and uploading overlap."""
    # The local server of the benchmark speaks plain S3 by path.
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    s3 = boto3.client("s3", config=config)
    bucket, key = os.environ["S3_BUCKET"], arguments.key
    read_end, write_end = os.pipe()
    outcome = {}

    def write():
        try:
            with open(write_end, "wb", buffering=TEXT_BUFFER_BYTES) as target:
                outcome["written"] = write_archive(client, vehicles, parameters, hours, arguments.level, target)
        except BaseException as error:  # handed to the main thread
            outcome["error"] = error

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    transfer = TransferConfig(multipart_threshold=PART_BYTES, multipart_chunksize=PART_BYTES, max_concurrency=4)
    with open(read_end, "rb", buffering=TEXT_BUFFER_BYTES) as source:
        s3.upload_fileobj(source, bucket, key, Config=transfer)
    writer.join()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["written"], lambda: s3.delete_object(Bucket=bucket, Key=key)


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_rss_bytes():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--prefix", default="vehicle_")
    parser.add_argument("--from-ms", type=int, required=True)
    parser.add_argument("--to-ms", type=int, required=True)
    parser.add_argument("--level", type=int, default=6)
    parser.add_argument("--key", default="bench/python.zip")
    arguments = parser.parse_args()

    started, cpu_before = time.perf_counter(), cpu_seconds()
    client = MongoClient(os.environ["MONGODB_URI"])
    vehicles = sorted(name for name in client.list_database_names() if name.startswith(arguments.prefix))
    hours = {"_id": {"$gte": arguments.from_ms, "$lt": arguments.to_ms}}
    parameters = column_order(client, vehicles)
    (entries, row_count), delete = upload(client, arguments, vehicles, parameters, hours)
    figures = {
        "wallSeconds": time.perf_counter() - started,
        "cpuSeconds": cpu_seconds() - cpu_before,
        "peakRssBytes": peak_rss_bytes(),
        "rows": row_count,
        "csvBytes": sum(entry.file_size for entry in entries),
        "compressedBytes": sum(entry.compress_size for entry in entries),
        "vehicles": [
            {"name": entry.filename.removesuffix(".csv"), "csvBytes": entry.file_size, "crc32": entry.CRC}
            for entry in entries
        ],
    }
    # The result is no longer needed, and a benchmark makes many.
    delete()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
