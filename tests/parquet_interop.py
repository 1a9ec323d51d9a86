"""Prints the rows of a Parquet file as lines of JSON, read by an implementation that is not ours."""

import json
import sys

import pyarrow.parquet


def plain(value):
    return value.hex() if isinstance(value, bytes) else str(value)


for row in pyarrow.parquet.read_table(sys.argv[1]).to_pylist():
    print(json.dumps(row, default=plain))
