"""Produces to and fetches from a topic through clients that protoc made from the contracts.

`cluster_topics.py OUT ENDPOINTS CASE TOPIC` says what it did as JSON in its last line.
"""

import json
import sys
import threading
import time

OUT, ENDPOINTS, CASE, TOPIC = sys.argv[1:5]
sys.path.insert(0, OUT)

import google  # noqa: E402
import grpc  # noqa: E402

# The package `google` of the system does not look for its parts elsewhere by itself.
google.__path__.append(OUT + "/google")

import record_batch  # noqa: E402
from cluster_calls import GIVE_UP_S, Cluster  # noqa: E402
from holdfast.broker.v1 import broker_pb2 as pb, broker_pb2_grpc  # noqa: E402
from holdfast.error.v1 import error_pb2  # noqa: E402

broker = broker_pb2_grpc.BrokerServiceStub
PARTITIONS = 3
LINES_OF_BATCH = 20
WAIT_MS = 5_000
PATHS = ["/", "/index.html", "/orders", "/orders/17", "/login", "/static/app.js"]
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE.value[0]


def line(number):
    path = PATHS[number % len(PATHS)]
    status = 500 if number % 50 == 0 else 200
    size = number * 7919 % 100_000
    host = f"10.0.{(number >> 8) % 256}.{number % 256}"
    return f'{host} - - [22/Nov/2026:10:00:00 +0000] "GET {path} HTTP/1.1" {status} {size} {number}'


def of_partition(call, cluster):
    """Asks again, elsewhere, until the only result is not UNAVAILABLE."""
    give_up = time.monotonic() + GIVE_UP_S
    while True:
        result = call().results[0]
        if result.error.code != UNAVAILABLE or time.monotonic() > give_up:
            return result
        cluster.repeats += 1
        cluster.turn()


def produce(cluster, partition, batch, topic=TOPIC):
    one = pb.ProducePartition(topic=topic, partition=partition, batch=batch)
    request = pb.ProduceRequest(partitions=[one], acks=pb.ACKS_MAJORITY)
    return of_partition(lambda: cluster.repeatable(broker, "Produce", request), cluster)


def fetch(cluster, offsets, wait_ms=0, **more):
    partitions = [pb.FetchPartition(topic=TOPIC, partition=at, offset=offset) for at, offset in offsets.items()]
    return cluster.read(broker, "Fetch", pb.FetchRequest(partitions=partitions, wait_ms=wait_ms, **more)).results


def ends(cluster):
    found = {}
    for at in range(PARTITIONS):
        request = pb.FindOffsetsRequest(partitions=[pb.FindOffset(topic=TOPIC, partition=at)])
        result = of_partition(lambda: cluster.read(broker, "FindOffsets", request), cluster)
        assert result.error.code == 0, result
        found[at] = result.log_end
    return found


class Writer:
    """Appends batches, each once: a repeat has the sequence of the first attempt."""

    def __init__(self, first):
        self._cluster = Cluster(ENDPOINTS.split(","))
        self._next = first
        self._sequences = [0] * PARTITIONS
        self.placed = []
        self.duplicates = 0
        self._identity = self._cluster.repeatable(broker, "InitProducer", pb.InitProducerRequest())

    @property
    def repeats(self):
        return self._cluster.repeats

    def write(self):
        at = len(self.placed) % PARTITIONS
        numbers = range(self._next, self._next + LINES_OF_BATCH)
        now = time.time_ns() // 1_000_000
        # Times that go back, records without a key, headers: whatever the format has.
        records = [
            (now - number % 7, None if number % 5 == 0 else b"py", line(number).encode(), [("by", b"python")])
            for number in numbers
        ]
        who = self._identity
        batch = record_batch.make(records, who.producer_id, who.epoch, self._sequences[at])
        result = produce(self._cluster, at, batch)
        assert result.error.code == 0, result
        self.duplicates += result.duplicate
        self.placed.append([at, result.base_offset, numbers[0], len(numbers)])
        self._sequences[at] += len(records)
        self._next += len(records)


class Reader:
    """Follows all partitions by one call at a time; each of its lines is a record that it was given."""

    def __init__(self, out):
        self._cluster = Cluster(ENDPOINTS.split(","))
        self._out = out
        self.offsets = dict.fromkeys(range(PARTITIONS), 0)
        self.before = 0
        self.records = 0

    @property
    def cluster(self):
        return self._cluster

    def read(self, wait_ms=WAIT_MS):
        failed = False
        for result in fetch(self._cluster, self.offsets, wait_ms):
            assert result.error.code in (0, UNAVAILABLE), result
            failed = failed or result.error.code != 0
            if result.error.code == 0:
                self._take(result)
        if failed:
            self._cluster.repeats += 1
            self._cluster.turn()

    def _take(self, result):
        at = result.partition
        for fetched in result.batches:
            for offset, time_ms, key, value, headers in record_batch.read(fetched.base_offset, fetched.batch):
                if offset < self.offsets[at]:
                    self.before += 1
                    continue
                plain = [[name, content.decode()] for name, content in headers]
                row = [at, offset, time_ms, key and key.decode(), value.decode(), plain]
                self._out.write(json.dumps(row) + "\n")
                self.records += 1
        assert self.offsets[at] <= result.next_offset <= result.log_end, result.next_offset
        self.offsets[at] = result.next_offset


def follow():
    """Writes and reads until its input ends, and then reads to the end of the log."""
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    writer, failures = Writer(int(sys.argv[5])), []

    def write():
        try:
            while not over.is_set() or len(writer.placed) < 2 * PARTITIONS:
                writer.write()
                time.sleep(0.01)
        except BaseException as error:
            failures.append(repr(error))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    with open(OUT + "/read.jsonl", "w", encoding="utf-8") as out:
        reader = Reader(out)
        while reader.records == 0:
            reader.read()
        print("begun", flush=True)
        while thread.is_alive():
            reader.read()
        assert not failures, failures
        last = ends(reader.cluster)
        give_up = time.monotonic() + GIVE_UP_S
        while reader.offsets != last:
            assert time.monotonic() < give_up, (reader.offsets, last)
            reader.read()
        records = reader.records
        reader.read(wait_ms=200)
        assert reader.records == records, "something comes after the end"
    return {
        "ends": list(last.values()),
        "placed": writer.placed,
        "duplicates": writer.duplicates,
        "write_repeats": writer.repeats,
        "read_repeats": reader.cluster.repeats,
        "before": reader.before,
    }


def refusals():
    """By what it tried: reason, and what became of the write."""
    cluster = Cluster(ENDPOINTS.split(","))
    records = [(1_700_000_000_000, b"k", b"v", [])]
    good = record_batch.make(records)

    def told(result):
        return [result.error.reason, error_pb2.Outcome.Name(result.error.outcome)]

    def fenced():
        request = pb.InitProducerRequest(name="cashier")
        old, new = [cluster.repeatable(broker, "InitProducer", request) for _ in range(2)]
        assert (new.producer_id, new.epoch) == (old.producer_id, old.epoch + 1), (old, new)
        assert produce(cluster, 0, record_batch.make(records, new.producer_id, new.epoch)).error.code == 0
        return produce(cluster, 0, record_batch.make(records, old.producer_id, old.epoch))

    def repeated():
        who = cluster.repeatable(broker, "InitProducer", pb.InitProducerRequest())
        batch = record_batch.make(records * 3, who.producer_id, who.epoch)
        first, again = produce(cluster, 1, batch), produce(cluster, 1, batch)
        assert (first.duplicate, again.duplicate) == (False, True), (first, again)
        assert first.base_offset == again.base_offset, (first, again)
        return produce(cluster, 1, record_batch.make(records, who.producer_id, who.epoch, 5))

    tried = {
        "damaged": produce(cluster, 0, good[:-1] + bytes([good[-1] ^ 1])),
        "cut": produce(cluster, 0, good[:-1]),
        "empty": produce(cluster, 0, b""),
        "unknown compression": produce(cluster, 0, record_batch.sealed(good[:5] + b"\x09" + good[6:])),
        "unknown topic": produce(cluster, 0, good, topic="nowhere"),
        "unknown partition": produce(cluster, PARTITIONS, good),
        "too large": produce(cluster, 0, record_batch.make([(0, None, bytes(2 << 20), [])])),
        "older producer": fenced(),
        "missing sequence": repeated(),
    }
    last = ends(cluster)
    (beyond,) = fetch(cluster, {0: last[0] + 1})
    assert (beyond.log_start, beyond.log_end) == (0, last[0]), beyond
    tried["beyond the end"] = beyond
    (decoded,) = fetch(cluster, {1: 1}, format=pb.FETCH_FORMAT_RECORDS)
    (stored,) = fetch(cluster, {1: 1})
    rows = [row for one in stored.batches for row in record_batch.read(one.base_offset, one.batch) if row[0] >= 1]
    assert rows == [(one.offset, one.time_ms, one.key, one.value, []) for one in decoded.records], decoded
    return {"ends": list(last.values()), "refused": {name: told(result) for name, result in tried.items()}}


print(json.dumps({"follow": follow, "refusals": refusals}[CASE]()))
