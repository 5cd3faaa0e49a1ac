"""Reads a backup file by node/docs/backup.md alone, with nothing but the standard library.

backup_reader.py FILE  prints a line of JSON for each entry and each fence, keys and values
in base64, and ends with exit code 1 and a reason if the file is not whole.
"""

import base64
import hashlib
import json
import struct
import sys
import zlib

HEADER, ENTRIES, FENCES, PARTITION, TRAILER = 1, 2, 3, 4, 5


class Refused(Exception):
    pass


class Content:
    """The fields of a block, in their order."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, length):
        if self.at + length > len(self.data):
            raise Refused("a block ends early")
        self.at += length
        return self.data[self.at - length : self.at]

    def number(self, form):
        return struct.unpack(form, self.raw(struct.calcsize(form)))[0]

    def u8(self):
        return self.number("<B")

    def u32(self):
        return self.number("<I")

    def u64(self):
        return self.number("<Q")

    def bytes(self):
        return self.raw(self.u32())

    @property
    def done(self):
        return self.at == len(self.data)


def take(file, length):
    data = file.read(length)
    if len(data) != length:
        raise Refused("the file was cut")
    return data


def blocks(file):
    """Type and content of each block; compares every checksum."""
    digest = hashlib.sha256()
    preamble = take(file, 12)
    if preamble != b"HFBACKUP" + struct.pack("<I", 1):
        raise Refused("no backup of version 1")
    digest.update(preamble)
    while True:
        head = take(file, 5)
        kind, length = struct.unpack("<BI", head)
        data = take(file, length)
        (checksum,) = struct.unpack("<I", take(file, 4))
        if zlib.crc32(head + data) != checksum:
            raise Refused("a block fails its checksum")
        content = Content(data)
        if kind == TRAILER:
            content.digest = digest.digest()
        yield kind, content
        if kind == TRAILER:
            return
        digest.update(head + data + struct.pack("<I", checksum))


def text(data):
    return base64.b64encode(data).decode()


def read(file, tell):
    header, totals, parts = None, [0, 0, 0, 0], [0, 0]
    for kind, content in blocks(file):
        if kind == HEADER:
            header = json.loads(content.data)
        elif kind == TRAILER:
            if [content.u64() for _ in range(4)] != totals:
                raise Refused("the trailer counts otherwise")
            if content.raw(32) != content.digest:
                raise Refused("the SHA-256 is another one")
            if file.read(1):
                raise Refused("something follows the trailer")
            if totals[1] != sum(len(keyspace["partitions"]) for keyspace in header["keyspaces"]):
                raise Refused("a partition is missing")
            return
        else:
            keyspace, partition = header["keyspaces"][content.u32()]["name"], content.u32()
            if kind == ENTRIES:
                while not content.done:
                    flags, key, version = content.u8(), content.bytes(), content.u64()
                    expires = content.u64() if flags & 1 else None
                    entry = {"key": text(key), "version": version, "expires_at_ms": expires}
                    tell({"keyspace": keyspace, "partition": partition, **entry, "value": text(content.bytes())})
                    parts[0] += 1
            elif kind == FENCES:
                while not content.done:
                    fence = {"lock": content.bytes().decode(), "token": content.u64()}
                    tell({"keyspace": keyspace, "partition": partition, **fence})
                    parts[1] += 1
            elif kind == PARTITION:
                if [content.u64(), content.u64()] != parts:
                    raise Refused("a partition counts otherwise")
                totals[1] += 1
                totals[2] += parts[0]
                totals[3] += parts[1]
                parts = [0, 0]
            else:
                raise Refused(f"a block of unknown type {kind}")
        totals[0] += 1


def main():
    try:
        with open(sys.argv[1], "rb") as file:
            read(file, lambda told: print(json.dumps(told)))
    except Refused as error:
        sys.exit(str(error))


main()
