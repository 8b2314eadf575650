"""Rows as data that other tools read: JSON lines, CSV or Parquet. What a row means is its maker's
business."""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from types import NoneType, UnionType
from typing import IO, Any, get_args, get_origin

import orjson
from msgspec import Struct
from msgspec.structs import fields

from adapters.errors import ExportFailed

Row = Mapping[str, Any]

_BATCH = 5_000  # rows that Parquet takes at once
_PLAIN = (bool, int, float, str, tuple, dict)


class Format(StrEnum):
    """How rows are written, and the ending of such a file's name."""

    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True)
class Export:
    """Rows and the columns that each of them has.

    Args:
        columns: types by name, in order: bool, int, float, str, tuple (of strings), or dict for
            whatever has parts, which is JSON text in CSV and Parquet.
        rows: None for what is unknown.
    """

    columns: Mapping[str, type]
    rows: Iterable[Row]

    def write(self, form: Format, file: IO[bytes]) -> None:
        """Write everything, a part at a time; `file` stays open.

        Raises:
            ExportFailed: Parquet without pyarrow.
            OSError: of the file.
        """
        match form:
            case Format.JSONL:
                for row in self.rows:
                    file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            case Format.CSV:
                self._write_csv(file)
            case Format.PARQUET:
                self._write_parquet(file)

    def _write_csv(self, file: IO[bytes]) -> None:
        rows = self._flat()
        first = list(islice(rows, 1))  # before the header: what fails at once writes nothing
        table = csv.writer(codecs.getwriter("utf-8")(file))
        table.writerows(chain([list(self.columns)], first, rows))

    def _write_parquet(self, file: IO[bytes]) -> None:
        try:
            import pyarrow  # an extra, of 150 MB
            from pyarrow import parquet
        except ModuleNotFoundError as exc:
            raise ExportFailed("Parquet needs pyarrow: pip install 'turnout[parquet]'") from exc
        schema = _schema(pyarrow, self.columns)
        rows = self._flat()
        with parquet.ParquetWriter(file, schema, compression="zstd") as table:
            while batch := list(islice(rows, _BATCH)):
                columns = [
                    pyarrow.array(cells, field.type)
                    for cells, field in zip(zip(*batch, strict=True), schema, strict=True)
                ]
                table.write_table(pyarrow.table(columns, schema=schema))

    def _flat(self) -> Iterator[list[Any]]:
        """Cells of each row, without parts of their own."""
        parted = [kind is dict for kind in self.columns.values()]
        for row in self.rows:
            yield [
                orjson.dumps(row[name]).decode()
                if has_parts and row[name] is not None
                else row[name]
                for name, has_parts in zip(self.columns, parted, strict=True)
            ]


def columns_of(record: type[Struct]) -> dict[str, type]:
    """The columns of rows that have a struct's fields."""
    return {field.name: _plain(field.type) for field in fields(record)}


def _plain(annotation: Any) -> type:
    if isinstance(annotation, UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
    kind = get_origin(annotation) or annotation
    return next(plain for plain in _PLAIN if issubclass(kind, plain))


def _schema(pyarrow: Any, columns: Mapping[str, type]) -> Any:
    types = {
        bool: pyarrow.bool_(),
        int: pyarrow.int64(),
        float: pyarrow.float64(),
        str: pyarrow.string(),
        tuple: pyarrow.list_(pyarrow.string()),
        dict: pyarrow.string(),
    }
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
