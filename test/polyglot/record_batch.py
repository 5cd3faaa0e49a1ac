"""Makes and reads batches of records by what broker.proto says of them, and by nothing else."""

import struct
import zlib

HEADER = struct.Struct(">IBBHIIIQIQQQI")
CHECKED_FROM = 12
NONE, GZIP = 0, 1


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return varint(number << 1 if number >= 0 else (-number << 1) - 1)


def text(content):
    """A key or a value, which may be missing."""
    return varint(0) if content is None else varint(len(content) + 1) + content


def make(records, producer_id=0, epoch=0, sequence=0):
    """An uncompressed batch of (time_ms, key, value, headers)."""
    first_ms = records[0][0]
    body = bytearray()
    for distance, (time_ms, key, value, headers) in enumerate(records):
        body += varint(distance) + zigzag(time_ms - first_ms) + text(key) + text(value) + varint(len(headers))
        for name, content in headers:
            raw = name.encode()
            body += varint(len(raw)) + raw + varint(len(content)) + content
    count, greatest_ms = len(records), max(record[0] for record in records)
    fields = [count, count - 1, producer_id, epoch, sequence, first_ms, greatest_ms, len(body)]
    return sealed(HEADER.pack(HEADER.size + len(body), 1, NONE, 0, 0, *fields) + body)


def sealed(batch):
    """The batch with the checksum that belongs to it."""
    return batch[:8] + struct.pack(">I", zlib.crc32(batch[CHECKED_FROM:])) + batch[CHECKED_FROM:]


class _Bytes:
    def __init__(self, content):
        self._content = content
        self._at = 0

    @property
    def is_over(self):
        return self._at == len(self._content)

    def varint(self):
        number = shift = 0
        while True:
            byte = self._content[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number
            shift += 7

    def zigzag(self):
        number = self.varint()
        return -(number + 1 >> 1) if number & 1 else number >> 1

    def take(self, length):
        taken = self._content[self._at : self._at + length]
        assert len(taken) == length, "the records end too early"
        self._at += length
        return taken

    def text(self):
        length = self.varint()
        return None if length == 0 else self.take(length - 1)


def read(base_offset, batch):
    """Gives (offset, time_ms, key, value, headers) of each record, in order."""
    length, version, compression, zero, checksum, count, last, _, _, _, first_ms, greatest_ms, unpacked = (
        HEADER.unpack_from(batch)
    )
    assert (length, version, zero) == (len(batch), 1, 0), (length, len(batch), version, zero)
    assert zlib.crc32(batch[CHECKED_FROM:]) == checksum, f"checksum of the batch at {base_offset}"
    assert compression in (NONE, GZIP), compression
    body = batch[HEADER.size :]
    if compression == GZIP:
        body = zlib.decompress(body, wbits=31)
    assert len(body) == unpacked, (len(body), unpacked)
    source = _Bytes(body)
    records = []
    for _ in range(count):
        offset, time_ms = base_offset + source.varint(), first_ms + source.zigzag()
        key, value = source.text(), source.text()
        names = range(source.varint())
        headers = [(source.take(source.varint()).decode(), source.take(source.varint())) for _ in names]
        records.append((offset, time_ms, key, value, headers))
    assert source.is_over and records[-1][0] == base_offset + last, (records[-1][0], base_offset, last)
    assert max(record[1] for record in records) == greatest_ms, greatest_ms
    return records
