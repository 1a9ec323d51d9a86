"""Reads a namespace from a local folder by what `src/docs/format.md` says, and by nothing else.

    format_reader.py [--verify] <root> <name of the namespace>

prints its schema, documents and dead rows as JSON; with --verify it prints the names of the objects that it checked.
Either way every object of the state is read whole, and everything that the page says of it is checked: magics, versions,
lengths, checksums, and that the parts of a segment agree with each other. What does not hold ends it with a message that
names the object. `HINT` is advice, and not read.

Needs pyarrow (Parquet, Arrow IPC) and xxhash (XXH3-64).
"""

import base64
import json
import math
import os
import re
import struct
import sys
import uuid

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import xxhash

KIB, MIB = 1 << 10, 1 << 20
U32_MAX = (1 << 32) - 1


class Damaged(Exception):
    """An object that is not as the page says."""


def check(truth, name, why):
    if not truth:
        raise Damaged(f"{name}: {why}")


def checksum(data):
    return xxhash.xxh3_64_intdigest(data)


def ceil_div(n, by):
    return -(-n // by)


def packed_uuid(text):
    return uuid.UUID(text).bytes


# --- Bytes ---


class Reader:
    """Bytes of an object that are taken from the front, never beyond their end."""

    def __init__(self, name, data):
        self.name, self.data, self.at = name, data, 0

    def take(self, length):
        check(length <= len(self.data) - self.at, self.name, f"ends at {len(self.data)}, within a field")
        self.at += length
        return bytes(self.data[self.at - length : self.at])

    def numbers(self, kind, count):
        return list(struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize(f"<{kind}"))))

    def number(self, kind):
        return self.numbers(kind, 1)[0]

    def u8(self):
        return self.number("B")

    def u16(self):
        return self.number("H")

    def u32(self):
        return self.number("I")

    def u64(self):
        return self.number("Q")

    def magic(self, magic, zero=True):
        check(self.take(4) == magic, self.name, f"does not begin with {magic.decode()}")
        check(self.u16() == 1, self.name, "is of an unknown version")
        if zero:
            check(self.u16() == 0, self.name, "is not zero behind its version")

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.u8()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                check(value < 1 << 64, self.name, "has a number above 64 bits")
                return value

    def more(self):
        return self.at < len(self.data)

    def end(self):
        check(not self.more(), self.name, f"has {len(self.data) - self.at} bytes too many")


def roaring(name, data):
    """The numbers of a roaring bitmap in the portable format, ascending."""
    read = Reader(f"{name}, bitmap", data)
    cookie = read.u32()
    runs = b""
    if cookie & 0xFFFF == 12347:
        count = (cookie >> 16) + 1
        runs = read.take(ceil_div(count, 8))
    else:
        check(cookie == 12346, read.name, "has an unknown cookie")
        count = read.u32()
        check(count <= 1 << 16, read.name, "has too many containers")
    heads = [(read.u16(), read.u16() + 1) for _ in range(count)]
    if not runs or count >= 4:
        read.take(4 * count)  # where the containers begin
    found = []
    for i, (high, size) in enumerate(heads):
        if runs and runs[i // 8] >> (i % 8) & 1:
            low = []
            for _ in range(read.u16()):
                start, more = read.u16(), read.u16()
                low.extend(range(start, start + more + 1))
        elif size <= 4096:
            low = read.numbers("H", size)
        else:
            bits = int.from_bytes(read.take(8192), "little")
            low = [n for n in range(1 << 16) if bits >> n & 1] if size < 1 << 16 else list(range(1 << 16))
        check(len(low) == size, read.name, "has another count than it says")
        found.extend(high << 16 | n for n in low)
    read.end()
    check(all(a < b for a, b in zip(found, found[1:])), read.name, "is not in order")
    return found


def ids(read, kind, count):
    if kind == "u64":
        return read.numbers("Q", count)
    if kind == "uuid":
        return [read.take(16) for _ in range(count)]
    return [read.take(length).decode() for length in read.numbers("H", count)]


ID_KINDS = {"u64": 1, "uuid": 2, "string": 3}


def packed_gaps(name, text):
    """Rows, each as its distance from the row behind the last one."""
    read = Reader(name, base64.b64decode(text, validate=True))
    rows, next_row = [], 0
    while read.more():
        rows.append(next_row + read.varint())
        next_row = rows[-1] + 1
    return rows


def packed_tokens(name, data):
    read = Reader(name, data)
    tokens, sequence = [], 0
    while read.more():
        token, flags = read.take(16), read.u8()
        check(flags < 32, name, "has an unknown flag of a token")
        sequence = (sequence + read.varint()) % (1 << 64)
        counts = [read.varint() if flags & bit else 0 for bit in (2, 4, 8, 16)]
        tokens.append((token, sequence, bool(flags & 1), counts))
    return tokens


# --- Names and frames ---


class Store:
    """The folder of a database. Objects have names, from its root on."""

    def __init__(self, root):
        self.root, self.checked, self.last = root, set(), root

    def read(self, name, most=None):
        self.last = name
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                data = file.read() if most is None else file.read(most + 1)
        except OSError as error:
            raise Damaged(f"{name}: {error.strerror}") from error
        check(most is None or len(data) <= most, name, f"is larger than {most} bytes")
        self.checked.add(name)
        return data

    def has(self, name):
        return os.path.isfile(os.path.join(self.root, name))

    def names(self, folder, pattern):
        """What is in a folder and looks like the pattern, in order."""
        path = os.path.join(self.root, folder)
        found = os.listdir(path) if os.path.isdir(path) else []
        return sorted(name for name in found if re.fullmatch(pattern, name))

    def framed(self, name, what, most):
        data = self.read(name, most)
        line, newline, body = data.partition(b"\n")
        match = re.fullmatch(rb"elacsym (\w+) (\d+) (\d+) ([0-9a-f]{16})", line)
        check(newline and match, name, "has no head line")
        check(match[1].decode() == what, name, f"is no {what}")
        check(int(match[2]) == 1, name, "is of an unknown version")
        check(int(match[3]) == len(body), name, "has another length than it says")
        check(int(match[4], 16) == checksum(body), name, "has a wrong checksum")
        return json.loads(body)


def folder_of(name):
    """The folder of a namespace."""
    upper = sum(c.isupper() for c in name) > sum(c.islower() for c in name)
    plain = str.isupper if upper else str.islower

    def spell(c):
        return c if not c.isalpha() else c.lower() if plain(c) else "~" + c.lower()

    spelled = "".join(map(spell, name))
    if spelled.endswith("."):
        spelled = spelled[:-1] + "~0"
    return ("u-" if upper else "n-") + spelled


def by_number(number):
    return f"{number:020}"


# --- Values ---


class Schema:
    """A version of a schema. A column has a number, a name and either a type or a shape of vectors."""

    def __init__(self, name, stored):
        self.stored, self.version, self.kind = stored, stored["version"], stored["id"]
        self.columns = stored["columns"]
        self.attributes = [column for column in self.columns if "attribute" in column]
        self.vectors = [column for column in self.columns if "vector" in column]
        numbers = [column["id"] for column in self.columns]
        check(len(set(numbers)) == len(numbers), name, "has a schema with a number twice")
        check(all(1 <= n < stored["next_column"] for n in numbers), name, "has a schema with a wrong number")


def element(column):
    return column["attribute"].removesuffix("_array")


def is_array(column):
    return column["attribute"].endswith("_array")


ARROW = {
    "string": pyarrow.utf8(),
    "int": pyarrow.int64(),
    "uint": pyarrow.uint64(),
    "float": pyarrow.float64(),
    "bool": pyarrow.bool_(),
    "uuid": pyarrow.binary(16),
    "datetime": pyarrow.timestamp("ms", "UTC"),
    "bytes": pyarrow.binary(),
    "u64": pyarrow.uint64(),
}
VECTORS = {"f32": (1, 4, "f", pyarrow.float32()), "f16": (2, 2, "e", pyarrow.float16()), "i8": (3, 1, "b", pyarrow.int8())}


def attribute_values(name, array, arrow, is_list):
    """The values of a column of an attribute or of the ids. Times are numbers."""
    if isinstance(array, pyarrow.ChunkedArray):
        array = array.combine_chunks() if array.num_chunks != 1 else array.chunk(0)
    if isinstance(array, pyarrow.ExtensionArray):
        array = array.storage
    found = array.type.value_type if is_list and pyarrow.types.is_list(array.type) else array.type
    if isinstance(found, pyarrow.BaseExtensionType):
        found = found.storage_type
    check(found == arrow and pyarrow.types.is_list(array.type) == is_list, name, f"has a column of {array.type}")
    if pyarrow.types.is_timestamp(arrow):
        array = array.cast(pyarrow.list_(pyarrow.int64()) if is_list else pyarrow.int64())
    values = array.to_pylist()
    if is_list and found == pyarrow.binary(16):
        values = [None if v is None else [x.bytes if isinstance(x, uuid.UUID) else x for x in v] for v in values]
    return values


def vector_values(name, array, shape):
    """The vectors of a column of an Arrow batch."""
    _, width, letter, arrow = VECTORS[shape["element"]]
    dimension = shape["dimension"]
    kind = array.type
    check(pyarrow.types.is_fixed_size_list(kind), name, "has vectors in no list of a fixed size")
    check((kind.list_size, kind.value_type) == (dimension, arrow), name, f"has vectors of {kind}")
    data = array.buffers()[-1].to_pybytes()[array.offset * dimension * width :]
    rows = [struct.unpack_from(f"<{dimension}{letter}", data, row * dimension * width) for row in range(len(array))]
    return [list(row) if valid.as_py() else None for row, valid in zip(rows, array.is_valid())]


def key_of(kind, value):
    """The bytes by which values of a type are compared, before they are cut."""
    if kind in ("int", "datetime"):
        return (value + (1 << 63)).to_bytes(8, "big")
    if kind == "uint":
        return value.to_bytes(8, "big")
    if kind == "float":
        bits = int.from_bytes(struct.pack(">d", value), "big")
        return (bits ^ ((1 << 64) - 1 if bits >> 63 else 1 << 63)).to_bytes(8, "big")
    if kind == "bool":
        return bytes([value])
    return value.encode() if kind == "string" else value


def row_keys(column, value):
    """The keys of a row: none if it is null, those of its elements if it is an array."""
    values = [] if value is None else value if is_array(column) else [value]
    return {key_of(element(column), v)[:128] for v in values}


def plain(kind, value):
    """A value as JSON has it."""
    if value is None:
        return None
    if isinstance(value, list):
        return [plain(kind, v) for v in value]
    if kind == "uuid":
        return str(uuid.UUID(bytes=value))
    if kind == "bytes":
        return value.hex()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


# --- Segments ---


class Segment:
    """A segment of a manifest or of an entry, read whole and checked."""

    def __init__(self, store, folder, meta, schema):
        self.store, self.meta, self.schema = store, meta, schema
        self.id, self.rows = meta["id"], meta["rows"]
        check(re.fullmatch(r"\d{20}-[0-9a-f]{32}", self.id), folder, f"has a segment {self.id!r}")
        self.incarnation = folder
        self.folder = f"{folder}/segment/{self.id}"
        self.index = f"{self.folder}/index"
        self.values = {}
        self.sections = self.read_index()
        self.read_parquet()
        self.check_ids()
        self.check_statistics()
        self.check_row_sizes()
        self.check_columns()
        check(set(meta.get("vectors", {})) == {str(c["id"]) for c in schema.vectors}, self.folder, "lacks vectors")
        for column in schema.vectors:
            self.read_vectors(column)
        self.check_text()

    def file(self, name, size):
        data = self.store.read(f"{self.folder}/{name}")
        check(len(data) == size, f"{self.folder}/{name}", f"has {len(data)} bytes for {size}")
        return data

    def head(self, name):
        check(name in self.sections, self.index, f"has no section {name}")
        return Reader(f"{self.index}, section {name}", self.sections[name])

    def read_index(self):
        """The sections: they are all of the file behind its head, and those of blocks come first."""
        meta = self.meta["index"]
        data = self.file("index", meta["size"])
        Reader(self.index, data).magic(b"ESIX")
        sections, at, heads = {}, 8, False
        for name, section in sorted(meta["sections"].items(), key=lambda item: (item[1]["offset"], item[1]["length"])):
            start, length = section["offset"], section["length"]
            check(start == at and length <= len(data) - at, self.index, f"has a gap before section {name}")
            at += length
            check(not (heads and name.endswith(".blocks")), self.index, "has blocks behind heads")
            heads = heads or not name.endswith(".blocks")
            sections[name] = data[start:at]
            right = int(section["checksum"], 16) == checksum(sections[name])
            check(right, self.index, f"has a wrong checksum of section {name}")
        check(at == len(data), self.index, "has bytes of no section")
        return sections

    def read_parquet(self):
        name = f"{self.folder}/rows.parquet"
        data = self.file("rows.parquet", self.meta["parquet"]["size"])
        sums = self.head("rows.checksums")
        for start in range(0, len(data), 16 * KIB):
            right = sums.u64() == checksum(data[start : start + 16 * KIB])
            check(right, name, f"has a wrong checksum of the block at {start}")
        sums.end()
        check(data.endswith(self.sections["rows.footer"]), name, "ends otherwise than rows.footer")
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
        check(table.num_rows == self.rows, name, f"has {table.num_rows} rows for {self.rows}")
        found = {int(field.metadata[b"PARQUET:field_id"]): i for i, field in enumerate(table.schema)}
        wanted = [0] + [column["id"] for column in self.schema.attributes]
        check(list(found) == wanted, name, f"has the columns {list(found)} for {wanted}")
        self.ids = attribute_values(name, table.column(0), ARROW[self.schema.kind], False)
        for column in self.schema.attributes:
            array = table.column(found[column["id"]])
            self.values[column["id"]] = attribute_values(name, array, ARROW[element(column)], is_array(column))

    def check_ids(self):
        kind = self.schema.kind
        plain_ids = [id.hex() if kind == "uuid" else id for id in self.ids]
        ends = [self.meta[end][kind] for end in ("id_min", "id_max")]
        check([min(plain_ids), max(plain_ids)] == ends, self.folder, "has other ids than its manifest says")
        ascending = sorted(range(self.rows), key=lambda row: id_order(self.ids[row]))
        if self.meta["order"] == "id":
            check(ascending == list(range(self.rows)), self.folder, "is not in the order of ids")
        else:
            check(self.meta["order"] == "cluster", self.folder, "has an unknown order")
        self.check_id_index(kind, ascending)
        self.check_row_ids(kind)

    def check_id_index(self, kind, ascending):
        head = self.head("id.head")
        head.magic(b"EIDX", zero=False)
        check(head.u16() == ID_KINDS[kind], head.name, "is of another kind of ids")
        entries = [(head.u64(), head.u32(), head.u32(), head.u64()) for _ in range(head.u32())]
        least = ids(head, kind, len(entries))
        head.end()
        at, found = 0, []
        for first, (start, length, count, total) in zip(least, entries):
            data = self.sections["id.blocks"][start : start + length]
            read = Reader(f"{self.index}, block of ids at {start}", data)
            check(start == at and length <= 32 * KIB, read.name, "lies otherwise")
            check(len(data) == length and checksum(data) == total, read.name, "has a wrong checksum")
            check(read.u32() == count, read.name, "has another count")
            rows = read.numbers("I", count)
            block = ids(read, kind, count)
            read.end()
            check(block[:1] == [first], read.name, "has another least id")
            found.extend(zip(rows, block))
            at += length
        check(at == len(self.sections["id.blocks"]), self.index, "has ids in no block")
        check(found == [(row, self.ids[row]) for row in ascending], self.index, "has other ids than the rows")

    def check_row_ids(self, kind):
        head = self.head("row_id.head")
        head.magic(b"EROW", zero=False)
        check(head.u16() == ID_KINDS[kind], head.name, "is of another kind of ids")
        blocks = [(head.u32(), head.u64()) for _ in range(head.u32())]
        head.end()
        check(len(blocks) == ceil_div(self.rows, 256), head.name, "has another count of blocks")
        data = Reader(f"{self.index}, section row_id.blocks", self.sections["row_id.blocks"])
        for number, (length, total) in enumerate(blocks):
            read = Reader(f"{self.index}, block {number} of row ids", data.take(length))
            check(checksum(read.data) == total, read.name, "has a wrong checksum")
            rows = self.ids[256 * number : 256 * (number + 1)]
            check(ids(read, kind, len(rows)) == rows, read.name, "has other ids than the rows")
            read.end()
        data.end()

    def check_statistics(self):
        for column in self.schema.attributes:
            found = self.meta.get("statistics", {}).get(str(column["id"]))
            if found is None:
                continue
            values = self.values[column["id"]]
            nulls = sum(value is None for value in values)
            keys = [key[:32].hex() for value in values for key in row_keys(column, value)]
            wanted = {"nulls": nulls} if nulls else {}
            if keys:
                wanted["bounds"] = [min(keys), max(keys)]
            check(found == wanted, self.folder, f"has statistics {found} for {wanted} of {column['name']}")

    def check_row_sizes(self):
        wide = [c for c in self.schema.attributes if is_array(c) or c["attribute"] in ("string", "bytes")]
        if not wide and "row_sizes" not in self.sections:
            return
        read = self.head("row_sizes")
        for column in wide:
            kind, lengths = element(column), []
            for value in self.values[column["id"]]:
                values = [] if value is None else value if is_array(column) else [value]
                lengths.append(sum(len(key_of(kind, v)) + 4 * is_array(column) for v in values))
            wanted = [sum(lengths[row : row + 64]) for row in range(0, self.rows, 64)]
            check(read.numbers("I", len(wanted)) == wanted, read.name, f"has other sizes of {column['name']}")
        read.end()

    # The attribute index.

    def check_columns(self):
        check(("columns.head" in self.sections) == ("columns.blocks" in self.sections), self.index, "has half an index")
        if "columns.head" not in self.sections:
            return
        head = self.head("columns.head")
        head.magic(b"ECOL")
        check(head.u32() == self.rows, head.name, "has another count of rows")
        blocks = Reader(f"{self.index}, section columns.blocks", self.sections["columns.blocks"])
        wanted = [column for column in self.schema.attributes if column.get("filterable", True)]
        check(head.u32() == len(wanted), head.name, "has another count of columns")
        for column in wanted:
            check(head.u32() == column["id"], head.name, f"has another column than {column['name']}")
            part = self.part(head)
            trigrams = None
            if head.u8():
                counts = head.numbers("I", len(part["blocks"]))
                trigrams = self.part(head)
            check((trigrams is not None) == column.get("trigrams", False), head.name, "has trigrams or not")
            found = self.check_values(column, part, blocks)
            if trigrams is not None:
                check(counts == found, head.name, "has other counts of keys")
                self.check_trigrams(column, trigrams, blocks)
        head.end()
        blocks.end()

    def part(self, head):
        width, nulls = head.u8(), head.u32()
        greatest, blocks = head.take(head.u8()), head.u32()
        null_block = (head.u32(), head.u64()) if 0 < nulls < self.rows else None
        found = [(head.take(head.u8()), head.u32(), head.u64()) for _ in range(blocks)]
        return {"width": width, "nulls": nulls, "greatest": greatest, "null_block": null_block, "blocks": found}

    def part_rows(self, part, blocks, name):
        """What a part has: by key, its rows; how many keys each block has; and the null rows."""
        nulls = [] if part["nulls"] == 0 else list(range(self.rows))
        if part["null_block"]:
            length, total = part["null_block"]
            data = blocks.take(length)
            check(checksum(data) == total, f"{blocks.name}, nulls of {name}", "have a wrong checksum")
            nulls = roaring(blocks.name, data)
        check(len(nulls) == part["nulls"], blocks.name, f"has another count of nulls of {name}")
        keys, counts = {}, []
        for number, (first, length, total) in enumerate(part["blocks"]):
            read = Reader(f"{blocks.name}, block {number} of {name}", blocks.take(length))
            check(checksum(read.data) == total, read.name, "has a wrong checksum")
            block = self.block(read, part["width"])
            check(block[0][0][:32] == first, read.name, "has another first key")
            keys.update(block)
            counts.append(len(block))
        greatest = list(keys)[-1] if keys else b""
        check(list(keys) == sorted(keys), blocks.name, f"has keys of {name} in disorder")
        check(len(keys) == sum(counts), blocks.name, f"has a key of {name} twice")
        check(greatest[:32] == part["greatest"], blocks.name, f"has another greatest key of {name}")
        return keys, counts, nulls

    def block(self, read, width):
        count = read.u32()
        check(count > 0, read.name, "has no key")
        ends = [0] + (read.numbers("H", count) if width == 0 else [width * (n + 1) for n in range(count)])
        data = read.take(ends[-1])
        keys = [data[start:end] for start, end in zip(ends, ends[1:])]
        listed = list(read.take(count))
        lists = [read.numbers("I", n) if n else None for n in listed]
        rows = [roaring(read.name, read.take(read.u32())) if found is None else found for found in lists]
        read.end()
        check(all(found == sorted(set(found)) for found in rows), read.name, "has rows in disorder")
        return list(zip(keys, rows))

    def check_values(self, column, part, blocks):
        keys, counts, nulls = self.part_rows(part, blocks, column["name"])
        wanted = {}
        for row, value in enumerate(self.values[column["id"]]):
            for key in row_keys(column, value):
                wanted.setdefault(key, []).append(row)
        check(keys == wanted, blocks.name, f"has other rows of {column['name']} than the rows")
        null_rows = [row for row, value in enumerate(self.values[column["id"]]) if value is None]
        check(nulls == null_rows, blocks.name, f"has other nulls of {column['name']}")
        return counts

    def check_trigrams(self, column, part, blocks):
        name = f"trigrams of {column['name']}"
        found, _, _ = self.part_rows(part, blocks, name)
        values = {}
        for value in self.values[column["id"]]:
            for v in [] if value is None else value if is_array(column) else [value]:
                values.setdefault(v.encode()[:128], []).append(v)
        wanted = {}
        for number, key in enumerate(sorted(values)):
            for gram in {gram for value in values[key] for gram in trigrams(value)}:
                wanted.setdefault(gram, []).append(number)
        check(found == wanted, blocks.name, f"has other {name} than the rows")

    # Vectors.

    def read_vectors(self, column):
        number, shape = str(column["id"]), column["vector"]
        name = f"{self.folder}/vector.{number}"
        code, width, letter, _ = VECTORS[shape["element"]]
        dimension = shape["dimension"]
        data = self.file(f"vector.{number}", self.meta["vectors"][number]["size"])
        header = data[:64]
        read = Reader(name, header)
        read.magic(b"EVEC", zero=False)
        start_of = (read.u16(), read.u32(), read.u32())
        check(start_of == (code, dimension, self.rows), name, "has another shape than its column")
        start, sums_at = read.u64(), read.u64()
        check(read.take(32) == bytes(32), name, "is not zero at the end of its header")
        head = self.head(f"vector.{number}.head")
        check(head.take(64) == header, head.name, f"differs from that of {name}")
        nulls = set(roaring(head.name, head.data[64:]))
        bytes_of_row = dimension * width
        end = start + self.rows * bytes_of_row
        check(start % 64 == 0 and end <= len(data), name, "has its components elsewhere")
        if sums_at:
            check(sums_at == ceil_div(end, 64) * 64 and self.rows * 4 > 64 * KIB, name, "has checksums elsewhere")
            sums = Reader(name, data[sums_at:])
        else:
            check(self.rows * 4 <= 64 * KIB, name, "has no checksums")
            sums = self.head(f"vector.{number}.checksums")
        tail = sums_at or len(data)
        check(not any(data[end:tail]) and tail - end < 64, name, "is not zero behind the components")
        seed = checksum(f"{self.id} {number}".encode()) & U32_MAX
        vectors = []
        for row in range(self.rows):
            part = data[start + row * bytes_of_row : start + (row + 1) * bytes_of_row]
            right = sums.u32() == (checksum(part) & U32_MAX) ^ (seed + row & U32_MAX)
            check(right, name, f"has a wrong checksum of row {row}")
            check(row not in nulls or not any(part), name, f"has a null that is not zero, row {row}")
            vectors.append(None if row in nulls else list(struct.unpack(f"<{dimension}{letter}", part)))
        sums.end()
        self.values[column["id"]] = vectors
        indexed = number in self.meta.get("centroids", {})
        check(indexed == (f"vector.{number}.index" in self.sections), self.index, f"has an index of {number} or not")
        if indexed:
            clusters = self.check_centroids(column, self.meta["centroids"][number])
            self.check_clusters(column, data, set(range(self.rows)) - nulls, clusters)
        else:
            check(start == 64, name, "has its components elsewhere")

    def check_centroids(self, column, centroids):
        return read_centroids(self.store, self.incarnation, column, centroids)

    def check_clusters(self, column, data, rows_left, clusters):
        head = self.head(f"vector.{column['id']}.index")
        name = f"{self.folder}/vector.{column['id']}"
        head.magic(b"EIVF")
        count = head.u32()
        loose = roaring(head.name, head.take(head.u64()))
        owned = head.u32()
        check(owned in (0, self.rows), head.name, "has another count of owners")
        owners = [(head.u64(), head.u64()) for _ in range(ceil_div(owned, 1 << 16))]
        entries = [(*head.numbers("I", 4), head.u64(), head.u64()) for _ in range(count)]
        head.u32()  # different vectors
        check(head.u32() == len(clusters), head.name, "has another count of clusters than its set")
        regions, points = head.u32(), head.u32()
        probes = head.numbers("I", points)
        check(regions <= 64 and points <= 64 and probes == sorted(set(probes)), head.name, "has an odd curve")
        check(not probes or (probes[0], probes[-1]) == (1, len(clusters)), head.name, "has an odd curve")
        for _ in range(regions):
            head.u32()
            head.numbers("f", 1 + 5 * points)
        head.end()
        check(set(loose) <= rows_left, head.name, "has loose rows without a vector")
        left = rows_left - set(loose)
        owner_of = [U32_MAX] * self.rows
        last = 0
        for number, (cluster, rows, first, codes, at, total) in enumerate(entries):
            entry = f"{name}, entry {number}"
            check(last <= cluster and cluster in clusters and codes in (1, rows), entry, "has a wrong cluster or count")
            last = cluster
            length = record_length(column["vector"], codes) + (4 * rows if first == U32_MAX else 0)
            check(64 <= at and at + length <= len(data), entry, "is not in its file")
            record = data[at : at + length]
            check(checksum(record) == total, entry, "has a wrong checksum")
            if first == U32_MAX:
                found = list(struct.unpack(f"<{rows}I", record[length - 4 * rows :]))
            else:
                found = list(range(first, first + rows))
            check(set(found) <= left and len(set(found)) == rows, entry, "has rows of others")
            left -= set(found)
            for row in found:
                owner_of[row] = number
        check(not left, name, "has rows in no cluster")
        stored = []
        for number, (at, total) in enumerate(owners):
            length = 4 * min(1 << 16, owned - (number << 16))
            part = data[at : at + length]
            check(len(part) == length and checksum(part) == total, name, "has a wrong checksum of owners")
            stored.extend(struct.unpack(f"<{length // 4}I", part))
        any_listed = any(entry[2] == U32_MAX for entry in entries)
        check(stored == (owner_of if any_listed else []), name, "has other owners than its clusters")

    def check_text(self):
        meta = self.meta.get("text")
        texts = [column for column in self.schema.attributes if column.get("text") is not None]
        check((meta is not None) == bool(texts), self.folder, "has a text index or not")
        if meta is None:
            return
        name = f"{self.folder}/text"
        data = self.file("text", meta["size"])
        Reader(name, data).magic(b"ETXT")
        head = self.head("text.head")
        head.magic(b"ETXH")
        check((head.u32(), head.u32()) == (self.rows, 32 * KIB), head.name, "has other rows or blocks")
        check(head.u64() == len(data) - 8, head.name, "has another length of the files")
        numbers = []
        for _ in range(head.u32()):
            numbers.append(head.u32())
            head.numbers("Q", 6)
        check(numbers == [column["id"] for column in texts], head.name, "has other columns")
        for _ in range(head.u32()):
            head.take(head.u64()).decode()
            head.numbers("Q", 2)
        for _ in range(head.u32()):
            at = head.u64()
            piece = head.take(head.u64())
            check(data[8 + at : 8 + at + len(piece)] == piece, head.name, f"has another piece at {at}")
        for start in range(8, len(data), 32 * KIB):
            right = head.u64() == checksum(data[start : start + 32 * KIB])
            check(right, name, f"has a wrong checksum of the block at {start}")
        head.end()

    def deletes(self):
        """The dead rows that a manifest names."""
        meta = self.meta.get("deletes")
        if meta is None:
            return set()
        file = f"deletes.{by_number(meta['manifest'])}-{packed_uuid(meta['nonce']).hex()}"
        name = f"{self.folder}/{file}"
        data = self.file(file, meta["size"])
        read = Reader(name, data)
        read.magic(b"EDEL")
        rows = roaring(name, read.take(read.u64()))
        check(read.u64() == checksum(data[:-8]), name, "has a wrong checksum")
        read.end()
        check(int(meta["checksum"], 16) == checksum(data[:-8]), name, "has another checksum than its manifest says")
        check(len(rows) == meta["count"] and all(r < self.rows for r in rows), name, "has other dead rows")
        return set(rows)

    def documents(self, schema, dead):
        """The rows that are not dead, by the columns of another schema."""
        for row, id in enumerate(self.ids):
            if row not in dead:
                yield id, {column["id"]: self.values[column["id"]][row]
                           for column in schema.columns if column["id"] in self.values}


def id_order(id):
    return id.encode() if isinstance(id, str) else id


def trigrams(value):
    """Each three bytes that follow each other, folded."""
    data = value.replace("\u017f", "s").replace("\u212a", "k").encode().lower()
    return {data[i : i + 3] for i in range(len(data) - 2)}


def record_length(shape, codes):
    space = ceil_div(shape["dimension"], 64) * 64
    signs = ceil_div(codes, 32) * (space // 4 * 16 + 32 * (4 + 2 + 2) + 32 * 4)
    return 4 + signs + codes * (4 + 4 + 2 + space * (shape["code_bits"] - 1) // 8)


def read_centroids(store, incarnation, column, meta):
    """Checks a centroid set, and returns the numbers of its clusters."""
    name = f"{incarnation}/centroids/{meta['id']}"
    data = store.read(name)
    check(len(data) == meta["size"], name, f"has {len(data)} bytes for {meta['size']}")
    check(checksum(data[:-8]) == int.from_bytes(data[-8:], "little"), name, "has a wrong checksum")
    read = Reader(name, data[:-8])
    read.magic(b"ECEN")
    own = f"{by_number(read.u64())}-{read.take(16).hex()}"
    check(own == meta["id"], name, f"calls itself {own}")
    read.u64()
    read.take(16)  # the set before it
    shape = column["vector"]
    wanted = (shape["dimension"], ["cosine", "l2_squared", "dot"].index(shape["metric"]) + 1, shape["code_bits"])
    check((read.u32(), read.u8(), read.u8()) == wanted, name, "is of another column")
    check(read.u16() == 0, name, "is not zero behind its bits")
    check(read.u64() == meta["trained"], name, "was made of other rows than its manifest says")
    read.numbers("f", 2)
    read.u64()
    read.numbers("f", 1 + shape["dimension"])
    clusters, next_number, numbers = read.u32(), read.u32(), []
    for _ in range(read.u32()):
        count, first, parent = read.numbers("I", 3)
        check(parent < first or parent == U32_MAX, name, "has a run of a later parent")
        check(count <= clusters - len(numbers), name, "has more numbers than clusters")
        numbers.extend(range(first, first + count))
    check(len(numbers) == clusters == len(set(numbers)), name, "has a cluster without a number of its own")
    check(all(number < next_number for number in numbers), name, "has a number that was not given yet")
    read.take(4 * shape["dimension"] * clusters)
    read.end()
    return numbers


# --- The log ---


class Entry:
    """An entry of the log."""

    def __init__(self, store, folder, number, schemas):
        self.name = name = f"{folder}/wal/{by_number(number)}"
        data = store.read(name, 128 * MIB)
        check(len(data) >= 128, name, "is too short")
        check(checksum(data[:-8]) == int.from_bytes(data[-8:], "little"), name, "has a wrong checksum")
        read = Reader(name, data[:-8])
        read.magic(b"EWAL", zero=False)
        self.kind = read.u16()
        check(self.kind in (1, 3), name, "is of an unknown kind")
        check(read.u32() == 0, name, "needs features that are not known")
        read.u32()  # what writers must know
        self.incarnation = read.take(16)
        check(read.u64() == number, name, "has another sequence")
        self.batch, self.before = read.take(16), read.take(16)
        read.take(16)
        read.number("q")
        lengths = read.numbers("Q", 3)
        extension = read.take(lengths[0])
        check(read.at % 64 == 0, name, "has rows that are not aligned")
        rows, deletes = read.take(lengths[1]), read.take(lengths[2])
        read.end()
        self.rows, self.deletes, self.linked = [], [], []
        if self.kind == 1:
            self.read_extension(store, folder, json.loads(extension), rows, deletes, schemas)

    def read_extension(self, store, folder, extension, rows, deletes, schemas):
        schema = schema_of(schemas, extension["schema"], self.name)
        packed_tokens(self.name, base64.b64decode(extension.get("tokens", ""), validate=True))
        batch = self.one_batch(rows)
        if batch is not None:
            names = ["id"] + [column["name"] for column in schema.columns]
            check(batch.schema.names == names, self.name, f"has the columns {batch.schema.names} for {names}")
            row_ids = attribute_values(self.name, batch.column(0), ARROW[schema.kind], False)
            columns = {}
            for array, column in zip(batch.columns[1:], schema.columns):
                if "vector" in column:
                    columns[column["id"]] = vector_values(self.name, array, column["vector"])
                else:
                    columns[column["id"]] = attribute_values(self.name, array, ARROW[element(column)], is_array(column))
            self.rows = [(id, {n: values[row] for n, values in columns.items()}) for row, id in enumerate(row_ids)]
            self.check_ascending(row_ids)
        batch = self.one_batch(deletes)
        if batch is not None:
            check(batch.schema.names == ["id"], self.name, "has deletes with columns")
            self.deletes = attribute_values(self.name, batch.column(0), ARROW[schema.kind], False)
            self.check_ascending(self.deletes)
        for link in extension.get("segments", []):
            meta = link["meta"]
            check("deletes" not in meta, self.name, "links a segment with deletes")
            dead = set(packed_gaps(f"{self.name}, dead", link.get("dead", "")))
            check(all(row < meta["rows"] for row in dead), self.name, "has dead rows that are none")
            segment = Segment(store, folder, meta, schema_of(schemas, meta["schema"], self.name))
            self.linked.append((segment, dead))
        every = self.deletes + [id for id, _ in self.rows]
        every += [id for segment, dead in self.linked for row, id in enumerate(segment.ids) if row not in dead]
        check(len(set(every)) == len(every), self.name, "has an id twice")

    def one_batch(self, data):
        if not data:
            return None
        batches = list(pyarrow.ipc.open_stream(data))
        check(len(batches) <= 1, self.name, "has a stream of several batches")
        return batches[0] if batches else None

    def check_ascending(self, found):
        order = [id_order(id) for id in found]
        check(all(a < b for a, b in zip(order, order[1:])), self.name, "has ids in disorder")


def schema_of(schemas, version, name):
    check(version in schemas, name, f"has rows of an unknown version {version} of the schema")
    return schemas[version]


# --- The state ---


def check_features(name, stored):
    """Features that are needed to write do not concern a reader."""
    check(not stored.get("features", {}).get("read"), name, "needs features that are not known")


class Namespace:
    """The newest state of a namespace: of its last incarnation, by its last manifest and the log behind it."""

    def __init__(self, store, name):
        self.store = store
        created = store.framed("STORE", "store", 64 * KIB)
        check(created["format"] == 1, "STORE", "is of an unknown format")
        check_features("STORE", created)
        folder = f"ns/{folder_of(name)}"
        numbers = [n for n in store.names(folder, "[0-9a-f]{8}") if store.has(f"{folder}/{n}/OPEN")]
        check(numbers, folder, "is no namespace")
        self.number = int(numbers[-1], 16)
        self.folder = f"{folder}/{numbers[-1]}"
        self.opened = store.framed(f"{self.folder}/OPEN", "incarnation", 64 * MIB)
        check_features(f"{self.folder}/OPEN", self.opened)
        same = (self.opened["name"], self.opened["number"]) == (name, self.number)
        check(same, f"{self.folder}/OPEN", "is of another namespace")
        if store.has(f"{self.folder}/CLOSED"):
            store.framed(f"{self.folder}/CLOSED", "closed", 64 * KIB)
            raise Damaged(f"{self.folder}: the namespace is deleted")
        self.manifest = self.read_manifests()
        self.read_segments()
        self.read_log()

    def read_manifests(self):
        """Reads all of them, and returns the last: what it says of those before it must be so."""
        nonces, manifest = {0: str(uuid.UUID(int=0))}, None
        for number in self.store.names(f"{self.folder}/manifest", r"\d{20}"):
            name = f"{self.folder}/manifest/{number}"
            manifest = self.store.framed(name, "manifest", 256 * MIB)
            check(manifest["number"] == int(number), name, "has another number")
            check(manifest["incarnation"] == self.opened["id"], name, "is of another incarnation")
            check_features(name, manifest)
            ring = manifest.get("ring", [])
            before = range(max(0, manifest["number"] - 64), manifest["number"])
            check([n for n, _ in ring] == list(before), name, "has another ring of manifests")
            check(all(nonces.get(n, nonce) == nonce for n, nonce in ring), name, "follows other manifests")
            nonces[manifest["number"]] = manifest["nonce"]
        if manifest is None:
            nil = str(uuid.UUID(int=0))
            manifest = {"number": 0, "segments": [], "flushed_through": 0, "flushed_batch": nil,
                        "schemas": [self.opened["schema"]]}
        name = f"{self.folder}/manifest/{by_number(manifest['number'])}"
        versions = [Schema(name, stored) for stored in manifest["schemas"]]
        check(all(a.version < b.version for a, b in zip(versions, versions[1:])), name, "has schemas in disorder")
        self.schemas = {schema.version: schema for schema in versions}
        self.schema = versions[-1]
        if manifest.get("tokens") is not None:
            self.check_tokens(manifest["tokens"])
        columns = {str(column["id"]): column for column in self.schema.columns}
        for number, centroids in manifest.get("centroids", {}).items():
            read_centroids(self.store, self.folder, columns[number], centroids)
        return manifest

    def check_tokens(self, meta):
        name = f"{self.folder}/tokens/{meta['id']}"
        data = self.store.read(name, MIB)
        read = Reader(name, data)
        read.magic(b"ETOK")
        count = read.u32()
        check(checksum(data[:-8]) == int.from_bytes(data[-8:], "little"), name, "has a wrong checksum")
        same = (len(data), checksum(data[:-8])) == (meta["size"], int(meta["checksum"], 16))
        check(same, name, "has another size or checksum than its manifest says")
        tokens = packed_tokens(name, data[read.at : -8])
        check(len(tokens) == count == meta["count"] <= 10_000, name, "has another count of tokens")

    def read_segments(self):
        self.documents, self.segments = {}, {}
        for meta in self.manifest["segments"]:
            schema = schema_of(self.schemas, meta["schema"], self.folder)
            segment = Segment(self.store, self.folder, meta, schema)
            dead = segment.deletes()
            self.segments[segment.id] = {"rows": segment.rows, "dead": len(dead)}
            for id, values in segment.documents(self.schema, dead):
                check(id not in self.documents, segment.folder, f"has an id of another segment: {id!r}")
                self.documents[id] = values

    def read_log(self):
        self.linked = {}
        number, batch = self.manifest["flushed_through"], packed_uuid(self.manifest["flushed_batch"])
        listed = [int(name) for name in self.store.names(f"{self.folder}/wal", r"\d{20}")]
        if number > 0:
            covered = f"{self.folder}/wal/{by_number(number)}"
            check(self.store.read(covered, 128 * MIB)[40:56] == batch, covered, "is of another batch than flushed_batch")
        last = max(listed, default=0)
        while number < last:
            number += 1
            entry = Entry(self.store, self.folder, number, self.schemas)
            check(entry.incarnation == packed_uuid(self.opened["id"]), entry.name, "is of another incarnation")
            check(entry.before == batch, entry.name, "does not follow the entry before it")
            batch = entry.batch
            if entry.kind == 3:
                raise Damaged(f"{entry.name}: the namespace is deleted")
            for id in entry.deletes:
                self.documents.pop(id, None)
            self.documents.update(entry.rows)
            for segment, dead in entry.linked:
                self.linked[segment.id] = {"rows": segment.rows, "dead": len(dead)}
                self.documents.update(segment.documents(self.schema, dead))
        self.sequence = number

    def state(self):
        """What is printed."""
        documents = []
        for id in sorted(self.documents, key=id_order):
            values = self.documents[id]
            row = {c["name"]: plain(c.get("attribute", "").removesuffix("_array"), values.get(c["id"]))
                   for c in self.schema.columns}
            documents.append({"id": plain(self.schema.kind, id), "values": row})
        return {"incarnation": self.number, "manifest": self.manifest["number"], "sequence": self.sequence,
                "schema": self.schema.stored, "segments": self.segments, "linked": self.linked, "documents": documents}


def main(arguments):
    verify = arguments[:1] == ["--verify"]
    root, name = arguments[verify:]
    store = Store(root)
    try:
        namespace = Namespace(store, name)
    except (LookupError, TypeError, ValueError, struct.error, pyarrow.ArrowException) as error:
        # What is not of the expected type or in its range: the checksums are right, or there is none.
        raise Damaged(f"{store.last}: {error!r}") from error
    if verify:
        print("\n".join(sorted(store.checked)))
    else:
        print(json.dumps(namespace.state(), sort_keys=True, separators=(",", ":"), allow_nan=False))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Damaged as damage:
        sys.exit(str(damage))
