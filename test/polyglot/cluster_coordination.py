"""Uses a cluster through clients that protoc made from the contracts, while nodes are killed.

`cluster_coordination.py OUT ENDPOINTS CASE` runs its case again and again until its input ends,
says `begun` after the first time, and at the end as JSON how much it did.
"""

import json
import queue
import sys
import threading
import time

OUT, ENDPOINTS, CASE = sys.argv[1:4]
sys.path.insert(0, OUT)

import google  # noqa: E402
import grpc  # noqa: E402

# The package `google` of the system does not look for its parts elsewhere by itself.
google.__path__.append(OUT + "/google")

from cluster_calls import Cluster  # noqa: E402
from holdfast.config.v1 import config_pb2 as pb, config_pb2_grpc  # noqa: E402
from holdfast.election.v1 import election_pb2, election_pb2_grpc  # noqa: E402
from holdfast.error.v1 import error_pb2  # noqa: E402
from holdfast.id.v1 import id_pb2, id_pb2_grpc  # noqa: E402
from holdfast.lease.v1 import lease_pb2, lease_pb2_grpc  # noqa: E402
from holdfast.lock.v1 import lock_pb2, lock_pb2_grpc  # noqa: E402

cluster = Cluster(ENDPOINTS.split(","))
config = config_pb2_grpc.ConfigServiceStub
lease = lease_pb2_grpc.LeaseServiceStub
lock = lock_pb2_grpc.LockServiceStub
election = election_pb2_grpc.ElectionServiceStub
ids = id_pb2_grpc.IdServiceStub
Code = grpc.StatusCode
KEPT_MS = 10_000


def put(key, value, **more):
    return cluster.write(config, "Put", pb.PutRequest(key=key, value=value, **more))


def get(key, **options):
    response = cluster.read(config, "Get", pb.GetRequest(key=key, options=pb.ReadOptions(**options)))
    return response.entry if response.HasField("entry") else None


def prefix_of(name):
    return pb.KeySelection(prefix=name)


def listed(selection, revision=0, **more):
    options = pb.ReadOptions(revision=revision)
    return cluster.read(config, "List", pb.ListRequest(selection=selection, options=options, **more))


def granted(ttl_ms, name=""):
    return cluster.write(lease, "Grant", lease_pb2.GrantRequest(ttl_ms=ttl_ms, name=name)).lease


def revoke(number):
    return cluster.write(lease, "Revoke", lease_pb2.RevokeRequest(lease=number))


def raised(error):
    raise error


def in_background(call):
    """What a call gives, or its error, by a function that waits for it."""
    results = queue.Queue()

    def run():
        try:
            results.put((call(), None))
        except BaseException as error:
            results.put((None, error))

    threading.Thread(target=run, daemon=True).start()

    def wait():
        result, error = results.get(timeout=60)
        if error is not None:
            raise error
        return result

    return wait


def put_and_get(at):
    key = b"%s/put" % at
    request = pb.PutRequest(key=key, value=b"\xff\x00", if_mod_revision=0)
    first = cluster.write(config, "Put", request).revision
    assert cluster.write_again(config, "Put", request).revision == first
    for number in range(2, 12):
        # A put that was applied twice would find another revision than the one before it.
        first = put(key, b"%d" % number, if_mod_revision=first).revision
    entry = get(key)
    assert (entry.value, entry.version, entry.mod_revision) == (b"11", 11, first), entry
    # Later writes have said that its result is no longer needed.
    code, info, own = cluster.refused(lambda: cluster.write_again(config, "Put", request))
    assert (code, info.reason) == (Code.FAILED_PRECONDITION, "SEQUENCE_STALE"), info
    assert get(key, revision=entry.create_revision).value == b"\xff\x00"
    previous = put(key, b"last", return_previous=True).previous
    assert previous == entry, (previous, entry)
    removed = pb.DeleteRequest(selection=pb.KeySelection(key=key), return_previous=True)
    response = cluster.write(config, "Delete", removed)
    assert (response.deleted, response.previous[0].value) == (1, b"last"), response
    assert get(key) is None
    return 13


def list_keys(at):
    keys = [b"%s/%d" % (at, number) for number in range(7)]
    revisions = [put(key, b"v%d" % (9 - number)).revision for number, key in enumerate(keys)]
    assert revisions == sorted(set(revisions)), revisions
    everything = prefix_of(at + b"/")
    answer = listed(everything)
    assert [entry.key for entry in answer.entries] == keys and answer.count == 7, answer
    part = listed(everything, limit=3)
    assert [entry.key for entry in part.entries] == keys[:3] and part.more, part
    rest = pb.KeySelection(range=pb.KeyRange(start=part.entries[-1].key + b"\0", end=at + b"0"))
    assert [entry.key for entry in listed(rest, part.revision).entries] == keys[3:]
    bare = listed(pb.KeySelection(range=pb.KeyRange(start=keys[1], end=keys[3])), keys_only=True)
    assert [(entry.key, entry.value) for entry in bare.entries] == [(key, b"") for key in keys[1:3]], bare
    assert listed(everything, count_only=True).count == 7
    newest = listed(everything, sort_by=pb.SORT_BY_MOD_REVISION, descending=True, limit=2)
    assert [entry.key for entry in newest.entries] == [keys[6], keys[5]], newest
    by_value = listed(everything, sort_by=pb.SORT_BY_VALUE)
    assert [entry.key for entry in by_value.entries] == keys[::-1], by_value
    assert len(listed(everything, revisions[3]).entries) == 4
    response = cluster.write(config, "Delete", pb.DeleteRequest(selection=everything))
    assert response.deleted == 7 and len(listed(everything).entries) == 0, response
    assert len(listed(everything, response.revision - 1).entries) == 7
    return 8


def transact(at):
    left, right = at + b"/left", at + b"/right"
    one = lambda key: pb.KeySelection(key=key)
    value_is = lambda key, value: pb.Comparison(selection=one(key), value=value)
    store = lambda key, value: pb.Operation(put=pb.PutRequest(key=key, value=value))
    run = lambda **parts: cluster.write(
        config, "Transact", pb.TransactRequest(transaction=pb.Transaction(**parts))
    )
    absent = [pb.Comparison(selection=one(key), version=0) for key in (left, right)]
    begun = run(comparisons=absent, then_operations=[store(left, b"10"), store(right, b"0")])
    assert begun.succeeded and {entry.mod_revision for entry in listed(prefix_of(at)).entries} == {begun.revision}
    for step in range(1, 11):
        # Applied twice it would not find what it compares with.
        moved = run(
            comparisons=[value_is(left, b"%d" % (11 - step)), value_is(right, b"%d" % (step - 1))],
            then_operations=[store(left, b"%d" % (10 - step)), store(right, b"%d" % step)],
        )
        assert moved.succeeded, (step, moved)
    read = pb.Operation(list=pb.ListRequest(selection=prefix_of(at)))
    inner = pb.Transaction(comparisons=[value_is(right, b"10")], then_operations=[store(right, b"done"), read])
    nested = run(
        comparisons=[value_is(left, b"none")], else_operations=[pb.Operation(transaction=inner), read]
    )
    assert not nested.succeeded, nested
    assert nested.results[0].transaction.succeeded, nested
    assert [entry.value for entry in nested.results[1].list.entries] == [b"0", b"done"], nested
    return 12


class Watcher(threading.Thread):
    """Follows a prefix over as many streams as it takes, each beginning behind what was told."""

    def __init__(self, prefix, start, stop):
        super().__init__(daemon=True)
        self.events, self.streams, self.failure = [], 0, None
        self._prefix, self._next, self._stop_at = prefix, start, stop
        self.start()

    def run(self):
        try:
            while self._next <= self._stop_at.get("revision", 1 << 63):
                self._follow()
        except BaseException as error:
            self.failure = error

    def _follow(self):
        create = pb.CreateWatch(watch_id=7, selection=prefix_of(self._prefix), start_revision=self._next)
        requests = queue.Queue()
        requests.put(pb.WatchRequest(create=create))
        stream = config(cluster.channel).Watch(iter(requests.get, None), timeout=60)
        self.streams += 1
        try:
            for message in stream:
                for part in (message, *message.further):
                    self._take(part)
                if self._next > self._stop_at.get("revision", 1 << 63):
                    break
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            cluster.resumed += 1
            cluster.turn()
        finally:
            requests.put(None)
            stream.cancel()

    def _take(self, part):
        said = part.WhichOneof("response")
        if said == "events":
            assert part.events.watch_id == 7 and part.events.revision >= self._next, part
            for event in part.events.events:
                assert event.entry.mod_revision >= self._next, (self._next, event)
                self.events.append((event.entry.mod_revision, event.type, event.entry.key, event.entry.value))
            self._next = part.events.revision + 1
        elif said == "progress":
            self._next = max(self._next, part.progress.revision + 1)
        else:
            assert said in ("created", "heartbeat"), part


def watch(at):
    first = put(at + b"/begin", b"").revision
    expected = [(first, pb.EVENT_TYPE_PUT, at + b"/begin", b"")]
    stop = {}
    watcher = Watcher(at + b"/", first, stop)
    for number in range(12):
        key, value = b"%s/%02d" % (at, number), b"%d" % number
        expected.append((put(key, value).revision, pb.EVENT_TYPE_PUT, key, value))
        if number % 3 == 0:
            keys = [key, key + b"+"]
            operations = [pb.Operation(put=pb.PutRequest(key=key, value=b"both")) for key in keys]
            request = pb.TransactRequest(transaction=pb.Transaction(then_operations=operations))
            revision = cluster.write(config, "Transact", request).revision
            expected += [(revision, pb.EVENT_TYPE_PUT, key, b"both") for key in keys]
        if number % 4 == 0:
            removed = pb.DeleteRequest(selection=pb.KeySelection(key=key))
            expected.append((cluster.write(config, "Delete", removed).revision, pb.EVENT_TYPE_DELETE, key, b""))
        time.sleep(0.02)
    last = b"%s/end" % at
    expected.append((put(last, b"").revision, pb.EVENT_TYPE_PUT, last, b""))
    stop["revision"] = expected[-1][0]
    watcher.join(60)
    assert watcher.failure is None, watcher.failure
    assert watcher.events == expected, (watcher.events, expected)
    return len(expected)


def leases(at):
    keep_alive = lambda *leases: [
        one.ttl_ms
        for one in cluster.repeatable(lease, "KeepAlive", lease_pb2.KeepAliveRequest(leases=leases)).leases
    ]
    kept = granted(KEPT_MS, "kept")
    put(at + b"/kept", b"", lease=kept)
    key = at + b"/short"
    granting = time.monotonic()
    short = granted(1000)
    asked = time.monotonic()
    if keep_alive(short) == [0]:
        asked = granting
    try:
        put(key, b"", lease=short)
    except grpc.RpcError as error:
        # There was no leader to write to for as long as it lives.
        assert cluster.refused(lambda: raised(error))[1].reason == "LEASE_UNKNOWN", error
    while get(key) is not None:
        assert keep_alive(kept) == [KEPT_MS]
        # Each change of leader may have given it another time until it is checkpointed.
        assert time.monotonic() - asked < 60
        time.sleep(0.1)
    assert time.monotonic() - asked >= 1.0
    assert keep_alive(short, kept) == [0, KEPT_MS]
    described = cluster.read(lease, "Describe", lease_pb2.DescribeRequest(lease=kept, with_keys=True))
    assert (described.name, list(described.keys)) == ("kept", [at + b"/kept"]), described
    assert 0 < described.remaining_ms <= KEPT_MS, described
    assert get(at + b"/kept").lease == kept
    revision = revoke(kept).revision
    assert get(at + b"/kept") is None and get(at + b"/kept", revision=revision - 1).lease == kept
    assert kept not in [one.lease for one in cluster.read(lease, "List", lease_pb2.ListRequest()).leases]
    return 4


def locks(at):
    name = at.decode()
    ours, theirs = granted(30000, "ours"), granted(30000, "theirs")
    wish = lambda session, number, **more: lock_pb2.AcquireRequest(
        lock=name, session=session, request_id=number, **more
    )
    acquire = lambda request: cluster.repeatable(lock, "Acquire", request)
    give = lambda session, number, token, done=("LOCK_NOT_HELD",): cluster.repeatable(
        lock,
        "Release",
        lock_pb2.ReleaseRequest(lock=name, session=session, request_id=number, token=token),
        done,
    )
    first = acquire(wish(ours, b"1"))
    assert first.token > 0 and acquire(wish(ours, b"1")) == first, first
    code, info, _ = cluster.refused(lambda: acquire(wish(theirs, b"1", wait_ms=0)))
    assert (code, info.reason) == (Code.FAILED_PRECONDITION, "LOCK_HELD"), info
    code, info, _ = cluster.refused(lambda: acquire(wish(theirs, b"1", wait_ms=50)))
    assert (code, info.reason) == (Code.DEADLINE_EXCEEDED, "LOCK_TIMED_OUT"), info
    waiting = in_background(lambda: acquire(wish(theirs, b"2", wait_ms=25000)))
    describe = lambda: cluster.read(lock, "Describe", lock_pb2.DescribeRequest(lock=name))
    while describe().waiting == 0:
        time.sleep(0.01)
    assert [holder.session for holder in describe().holders] == [ours]
    assert acquire(wish(ours, b"3", wait_ms=0)).holds == 2
    give(ours, b"3", first.token)
    time.sleep(0.2)
    assert describe().waiting == 1
    give(ours, b"1", first.token)
    second = waiting()
    assert second.token > first.token, (first, second)
    code, info, _ = cluster.refused(lambda: give(ours, b"1", first.token, done=()))
    assert (code, info.reason) == (Code.FAILED_PRECONDITION, "LOCK_NOT_HELD"), info
    assert [(one.session, one.token, one.name) for one in describe().holders] == [(theirs, second.token, "theirs")]
    code, info, _ = cluster.refused(lambda: acquire(wish(theirs, b"4", mode=lock_pb2.LOCK_MODE_SHARED)))
    assert info.reason == "LOCK_MODE_MISMATCH", info
    # A session that ends frees what it holds.
    waiting = in_background(lambda: acquire(wish(ours, b"5")))
    revoke(theirs)
    third = waiting()
    assert third.token > second.token, (second, third)
    revoke(ours)
    assert len(describe().holders) == 0
    return 5


class Observer(threading.Thread):
    """Who led an election, each change once."""

    def __init__(self, name):
        super().__init__(daemon=True)
        self.seen, self.failure, self._name, self._revision, self._stream = [], None, name, 0, None
        self.over = False
        self.start()

    def run(self):
        while not self.over:
            try:
                request = election_pb2.ObserveRequest(election=self._name)
                self._stream = election(cluster.channel).Observe(request, timeout=60)
                for answer in self._stream:
                    self._take(answer)
            except grpc.RpcError as error:
                if not self.over:
                    if error.code() != Code.UNAVAILABLE:
                        self.failure = error
                        return
                    cluster.resumed += 1
                    cluster.turn()

    def _take(self, answer):
        # Another node may be behind the one before it.
        if answer.revision < self._revision:
            return
        self._revision = answer.revision
        leader = (answer.leader.token, answer.leader.value) if answer.HasField("leader") else None
        if not self.seen or self.seen[-1] != leader:
            self.seen.append(leader)

    def await_last(self, leader):
        give_up = time.monotonic() + 60
        while not self.seen or self.seen[-1] != leader:
            assert self.failure is None and time.monotonic() < give_up, (self.failure, self.seen, leader)
            time.sleep(0.01)

    def end(self):
        self.over = True
        self._stream.cancel()


def elections(at):
    name = at.decode()
    one, two = granted(30000, "one"), granted(30000, "two")
    observer = Observer(name)
    observer.await_last(None)
    campaign = lambda session, value: cluster.repeatable(
        election, "Campaign", election_pb2.CampaignRequest(election=name, session=session, value=value)
    )
    describe = lambda: cluster.read(election, "Describe", election_pb2.DescribeRequest(election=name))
    first = campaign(one, b"one").token
    assert campaign(one, b"one").token == first
    observer.await_last((first, b"one"))
    waiting = in_background(lambda: campaign(two, b"two"))
    while list(describe().candidates) != [two]:
        time.sleep(0.01)
    say = election_pb2.ProclaimRequest(election=name, session=one, token=first, value=b"one, still")
    said = cluster.repeatable(election, "Proclaim", say).revision
    assert said > first
    observer.await_last((first, b"one, still"))
    leave = election_pb2.ResignRequest(election=name, session=one, token=first)
    cluster.repeatable(election, "Resign", leave, done=("NOT_ELECTED",))
    second = waiting().token
    assert second > said, (said, second)
    observer.await_last((second, b"two"))
    code, info, _ = cluster.refused(lambda: cluster.repeatable(election, "Proclaim", say))
    assert (code, info.reason) == (Code.FAILED_PRECONDITION, "NOT_ELECTED"), info
    leader = describe().leader
    assert (leader.session, leader.name, leader.token, leader.value) == (two, "two", second, b"two"), leader
    revoke(two)
    observer.await_last(None)
    revoke(one)
    tokens = [leader[0] for leader in observer.seen if leader]
    observer.end()
    assert tokens == sorted(tokens), tokens
    return 5


given = set()


def unique_ids(at):
    answer = cluster.read(ids, "Next", id_pb2.NextRequest(count=5000))
    made = [number for block in answer.blocks for number in range(block.first, block.first + block.count)]
    assert len(made) == 5000 and made == sorted(set(made)), len(made)
    assert given.isdisjoint(made)
    given.update(made)
    described = cluster.read(ids, "Describe", id_pb2.DescribeRequest(id=made[-1]))
    assert described.worker == answer.worker, (described, answer)
    assert abs(described.time_ms - time.time() * 1000) < 60_000, described
    return 5000


def sequences(at):
    name = at.decode().replace("/", ".")
    taken = 0
    for count in (1, 10, 0, 1000, *range(1, 12)):
        request = id_pb2.NextInSequenceRequest(name=name, count=count)
        answer = cluster.write(ids, "NextInSequence", request)
        # Nobody else counts in it, so a number that is left out was taken twice.
        assert (answer.first, answer.count) == (taken + 1, count or 1), (taken, answer)
        taken += answer.count
        assert cluster.write_again(ids, "NextInSequence", request) == answer
    page = id_pb2.ListSequencesRequest(after=name[:-1], limit=1000)
    summaries = {one.name: one.last for one in cluster.read(ids, "ListSequences", page).sequences}
    assert summaries[name] == taken, summaries
    return taken


def error_details(at):
    key = at + b"/e"
    revision = put(key, b"1").revision
    transaction = pb.Transaction(
        then_operations=[pb.Operation(put=pb.PutRequest(key=key)), pb.Operation(put=pb.PutRequest(key=key))]
    )
    stale = pb.PutRequest(key=key, value=b"2", if_mod_revision=revision - 1)
    number = 1 << 62
    cases = [
        (config, "Put", stale, Code.ABORTED, "REVISION_MISMATCH"),
        (config, "Put", pb.PutRequest(key=b"/holdfast/x"), Code.INVALID_ARGUMENT, "KEY_RESERVED"),
        (config, "Put", pb.PutRequest(key=key, value=b"x" * 1048577), Code.INVALID_ARGUMENT, "VALUE_TOO_LARGE"),
        (config, "Put", pb.PutRequest(key=key, lease=number), Code.NOT_FOUND, "LEASE_UNKNOWN"),
        (config, "Transact", pb.TransactRequest(transaction=transaction), Code.INVALID_ARGUMENT, "DUPLICATE_KEY"),
        (lease, "Grant", lease_pb2.GrantRequest(ttl_ms=1), Code.INVALID_ARGUMENT, "TTL_OUT_OF_RANGE"),
        (lease, "Revoke", lease_pb2.RevokeRequest(lease=number), Code.NOT_FOUND, "LEASE_UNKNOWN"),
        (
            ids,
            "NextInSequence",
            id_pb2.NextInSequenceRequest(name="No Name"),
            Code.INVALID_ARGUMENT,
            "SEQUENCE_NAME_INVALID",
        ),
    ]
    for stub, method, request, code, reason in cases:
        found, info, own = cluster.refused(lambda: cluster.write(stub, method, request))
        assert (found, info.reason) == (code, reason), info
        assert own.outcome == error_pb2.OUTCOME_NOT_APPLIED and own.message, own
        if reason == "REVISION_MISMATCH":
            assert own.current_version == revision, own
        if reason == "VALUE_TOO_LARGE":
            facts = {"outcome": "NOT_APPLIED", "field": "value", "actual": "1048577", "limit": "1048576"}
            assert dict(info.metadata) == facts, info
    reads = [
        (
            config,
            "Get",
            pb.GetRequest(key=key, options=pb.ReadOptions(revision=1 << 52)),
            Code.OUT_OF_RANGE,
            "REVISION_FUTURE",
        ),
        (lease, "Describe", lease_pb2.DescribeRequest(lease=number), Code.NOT_FOUND, "LEASE_UNKNOWN"),
        (ids, "Describe", id_pb2.DescribeRequest(id=1 << 63), Code.INVALID_ARGUMENT, "ID_INVALID"),
        (ids, "Next", id_pb2.NextRequest(count=70000), Code.INVALID_ARGUMENT, "COUNT_OUT_OF_RANGE"),
        (
            lock,
            "Acquire",
            lock_pb2.AcquireRequest(lock=at, session=number, request_id=b"1"),
            Code.NOT_FOUND,
            "SESSION_EXPIRED",
        ),
        (
            election,
            "Resign",
            election_pb2.ResignRequest(election=at, session=number, token=1),
            Code.FAILED_PRECONDITION,
            "NOT_ELECTED",
        ),
    ]
    for stub, method, request, code, reason in reads:
        found, info, _ = cluster.refused(lambda: cluster.read(stub, method, request))
        assert (found, info.reason) == (code, reason), info
    assert get(key).mod_revision == revision
    return len(cases) + len(reads)


def main():
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    rounds = done = 0
    while rounds < 2 or not over.is_set():
        done += globals()[CASE](b"py/%s/%d" % (CASE.encode(), rounds))
        rounds += 1
        if rounds == 1:
            print("begun", flush=True)
    print(json.dumps({"rounds": rounds, "done": done, "repeats": cluster.repeats, "resumed": cluster.resumed}))


main()
