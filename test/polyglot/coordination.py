"""Uses configuration, leases, locks, elections and IDs of a node through a client that protoc
made from the contracts: `coordination.py OUT ENDPOINT CASE`."""

import queue
import sys
import threading

OUT, ENDPOINT, CASE = sys.argv[1:4]
sys.path.insert(0, OUT)

import google  # noqa: E402
import grpc  # noqa: E402

# The package `google` of the system does not look for its parts elsewhere by itself.
google.__path__.append(OUT + "/google")

from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from holdfast.config.v1 import config_pb2 as c, config_pb2_grpc  # noqa: E402
from holdfast.election.v1 import election_pb2 as e, election_pb2_grpc  # noqa: E402
from holdfast.error.v1 import error_pb2  # noqa: E402
from holdfast.id.v1 import id_pb2 as i, id_pb2_grpc  # noqa: E402
from holdfast.kv.v1 import kv_pb2  # noqa: E402
from holdfast.lease.v1 import lease_pb2 as l, lease_pb2_grpc  # noqa: E402
from holdfast.lock.v1 import lock_pb2 as k, lock_pb2_grpc  # noqa: E402

channel = grpc.insecure_channel(ENDPOINT)
config = config_pb2_grpc.ConfigServiceStub(channel)
leases = lease_pb2_grpc.LeaseServiceStub(channel)
locks = lock_pb2_grpc.LockServiceStub(channel)
elections = election_pb2_grpc.ElectionServiceStub(channel)
ids = id_pb2_grpc.IdServiceStub(channel)
CODE = grpc.StatusCode


def refused(call):
    """The gRPC code, the ErrorInfo and our own detail of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        trailers = dict(error.trailing_metadata())
        status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
        assert status.code == error.code().value[0], status
        info, own = error_details_pb2.ErrorInfo(), error_pb2.Error()
        assert any(detail.Unpack(info) for detail in status.details), status
        assert any(detail.Unpack(own) for detail in status.details), status
        assert info.reason == own.reason, status
        return error.code(), info, own
    raise AssertionError("the call was not refused")


def put(key, value, **more):
    return config.Put(c.PutRequest(key=key, value=value, **more), timeout=30)


def get(key, **options):
    response = config.Get(c.GetRequest(key=key, options=c.ReadOptions(**options)), timeout=30)
    return response.entry if response.HasField("entry") else None


def grant(**more):
    return leases.Grant(l.GrantRequest(ttl_ms=60000, **more), timeout=30).lease


def put_and_get():
    first = put(b"py/a", b"\xff\x00").revision
    second = put(b"py/a", b"two", if_mod_revision=first, return_previous=True)
    assert second.previous.value == b"\xff\x00" and second.revision > first, second
    entry = get(b"py/a")
    assert (entry.value, entry.create_revision, entry.mod_revision) == (b"two", first, second.revision), entry
    assert (entry.version, entry.lease) == (2, 0), entry
    assert get(b"py/a", revision=first).value == b"\xff\x00"
    assert get(b"py/a", stale=True) is not None
    assert get(b"py/none") is None
    gone = config.Delete(c.DeleteRequest(selection=c.KeySelection(key=b"py/a"), return_previous=True), timeout=30)
    assert (gone.deleted, gone.previous[0].value) == (1, b"two"), gone
    assert get(b"py/a") is None


def list_keys():
    keys = [b"py/l/%d" % n for n in range(5)]
    for key in keys:
        put(key, key)
    ask = lambda selection, **more: config.List(c.ListRequest(selection=selection, **more), timeout=30)
    under = c.KeySelection(prefix=b"py/l/")
    whole = ask(under)
    assert [entry.key for entry in whole.entries] == keys and not whole.more, whole
    part = ask(under, limit=2, descending=True, keys_only=True)
    assert [(entry.key, entry.value) for entry in part.entries] == [(keys[4], b""), (keys[3], b"")], part
    assert part.more
    between = c.KeySelection(range=c.KeyRange(start=keys[1], end=keys[3]))
    assert [entry.value for entry in ask(between).entries] == keys[1:3]
    counted = ask(under, count_only=True)
    assert (counted.count, len(counted.entries)) == (5, 0), counted
    put(keys[0], b"again")
    newest = ask(under, sort_by=c.SORT_BY_MOD_REVISION, descending=True, limit=1)
    assert newest.entries[0].key == keys[0], newest


def transact():
    absent = c.Comparison(
        selection=c.KeySelection(key=b"py/t"), comparator=c.COMPARATOR_EQUAL, version=0
    )
    operations = [
        c.Operation(put=c.PutRequest(key=b"py/t", value=b"mine")),
        c.Operation(list=c.ListRequest(selection=c.KeySelection(prefix=b"py/t"))),
    ]
    read = c.Operation(list=c.ListRequest(selection=c.KeySelection(key=b"py/t")))
    transaction = c.Transaction(comparisons=[absent], then_operations=operations, else_operations=[read])
    run = lambda: config.Transact(c.TransactRequest(transaction=transaction), timeout=30)
    first = run()
    assert first.succeeded and len(first.results) == 2, first
    assert first.results[1].list.entries[0].mod_revision == first.revision, first
    second = run()
    assert not second.succeeded and second.results[0].list.entries[0].value == b"mine", second


def applied_once():
    sequence = kv_pb2.Sequence(client_id=b"py-coordination1", sequence=1, open=True)
    before = put(b"py/once", b"0").revision
    revisions = {put(b"py/once", b"1", sequence=sequence).revision for _ in range(3)}
    assert len(revisions) == 1 and min(revisions) > before, revisions
    assert get(b"py/once").version == 2


class Watching:
    """A watch stream: what is asked goes in, what is answered comes out."""

    def __init__(self):
        self.asked = queue.Queue()
        self.stream = config.Watch(iter(self.asked.get, None), timeout=30)
        self.answers = self.flattened()

    def flattened(self):
        """Answers with their kinds; signs of life in between are nothing."""
        for response in self.stream:
            for one in (response, *response.further):
                kind = one.WhichOneof("response")
                if kind != "heartbeat":
                    yield kind, getattr(one, kind)

    def create(self, **more):
        self.asked.put(c.WatchRequest(create=c.CreateWatch(**more)))

    def end(self):
        self.asked.put(None)
        self.stream.cancel()


def watch():
    first = put(b"py/w/1", b"one").revision
    watching = Watching()
    watching.create(
        watch_id=1, selection=c.KeySelection(prefix=b"py/w/"), start_revision=first, with_previous=True
    )
    watching.create(watch_id=2, selection=c.KeySelection(key=b"py/w/2"))
    created, seen = [], {1: [], 2: []}
    while len(created) < 2:
        kind, answer = next(watching.answers)
        if kind == "created":
            created.append(answer)
        else:
            seen[answer.watch_id] += answer.events
    second = put(b"py/w/2", b"two").revision
    config.Delete(c.DeleteRequest(selection=c.KeySelection(key=b"py/w/1")), timeout=30)
    while len(seen[1]) < 3 or len(seen[2]) < 1:
        kind, answer = next(watching.answers)
        assert kind == "events", answer
        seen[answer.watch_id] += answer.events
        assert answer.revision >= answer.events[-1].entry.mod_revision, answer
    assert sorted(one.watch_id for one in created) == [1, 2], created
    shown = [(event.type, event.entry.key, event.entry.value) for event in seen[1]]
    put_type, delete_type = c.EVENT_TYPE_PUT, c.EVENT_TYPE_DELETE
    assert shown == [
        (put_type, b"py/w/1", b"one"),
        (put_type, b"py/w/2", b"two"),
        (delete_type, b"py/w/1", b""),
    ], shown
    assert seen[1][2].previous.value == b"one", seen
    assert [event.entry.mod_revision for event in seen[2]] == [second], seen
    watching.end()


def watch_compacted():
    put(b"py/c", b"1")
    last = put(b"py/c", b"2").revision
    config.Compact(c.CompactRequest(revision=last), timeout=30)
    watching = Watching()
    watching.create(watch_id=7, selection=c.KeySelection(key=b"py/c"), start_revision=1)
    kind, cancelled = next(watching.answers)
    assert kind == "cancelled", cancelled
    assert (cancelled.watch_id, cancelled.error.reason) == (7, "REVISION_COMPACTED"), cancelled
    assert cancelled.compact_revision == last, cancelled
    watching.end()
    old = lambda: get(b"py/c", revision=1)
    assert (refused(old)[0], refused(old)[1].reason) == (CODE.OUT_OF_RANGE, "REVISION_COMPACTED")
    described = config.Describe(c.DescribeRequest(), timeout=30)
    assert described.compact_revision == last <= described.revision, described


def lease():
    granted = leases.Grant(l.GrantRequest(ttl_ms=60000, name="python"), timeout=30)
    number = granted.lease
    assert granted.ttl_ms == 60000, granted
    put(b"py/leased", b"x", lease=number)
    kept = leases.KeepAlive(l.KeepAliveRequest(leases=[number, 12345]), timeout=30).leases
    assert [(one.lease, one.ttl_ms) for one in kept] == [(number, 60000), (12345, 0)], kept
    described = leases.Describe(l.DescribeRequest(lease=number, with_keys=True), timeout=30)
    assert (described.name, list(described.keys)) == ("python", [b"py/leased"]), described
    assert 0 < described.remaining_ms <= 60000, described
    assert number in [one.lease for one in leases.List(l.ListRequest(), timeout=30).leases]
    leases.Revoke(l.RevokeRequest(lease=number), timeout=30)
    assert get(b"py/leased") is None
    code, info, _ = refused(lambda: leases.Revoke(l.RevokeRequest(lease=number), timeout=30))
    assert (code, info.reason, info.metadata["outcome"]) == (CODE.NOT_FOUND, "LEASE_UNKNOWN", "NOT_APPLIED"), info


def lease_ends():
    number = leases.Grant(l.GrantRequest(ttl_ms=1000), timeout=30).lease
    watching = Watching()
    put(b"py/ends", b"x", lease=number)
    watching.create(watch_id=1, selection=c.KeySelection(key=b"py/ends"), start_revision=get(b"py/ends").mod_revision)
    for kind, answer in watching.answers:
        if kind == "events" and answer.events[-1].type == c.EVENT_TYPE_DELETE:
            break
    watching.end()
    assert get(b"py/ends") is None


def lock():
    acquire = lambda session, name=b"1", **more: locks.Acquire(
        k.AcquireRequest(lock="py", session=session, request_id=name, **more), timeout=30
    )
    release = lambda session, token: locks.Release(
        k.ReleaseRequest(lock="py", session=session, request_id=b"1", token=token), timeout=30
    )
    mine, other = grant(name="mine"), grant(name="other")
    held = acquire(mine, wait_ms=0)
    assert acquire(mine, wait_ms=0) == held, "the same request has the same answer"
    code, info, _ = refused(lambda: acquire(other, wait_ms=0))
    assert (code, info.reason) == (CODE.FAILED_PRECONDITION, "LOCK_HELD"), info
    code, info, _ = refused(lambda: acquire(other, wait_ms=100))
    assert (code, info.reason) == (CODE.DEADLINE_EXCEEDED, "LOCK_TIMED_OUT"), info
    code, info, _ = refused(lambda: release(other, held.token))
    assert (code, info.reason) == (CODE.FAILED_PRECONDITION, "LOCK_NOT_HELD"), info

    got = queue.Queue()
    waiting = threading.Thread(target=lambda: got.put(acquire(other, name=b"1")))
    waiting.start()
    describe = lambda: locks.Describe(k.DescribeRequest(lock="py"), timeout=30)
    while describe().waiting == 0:
        pass
    assert [holder.name for holder in describe().holders] == ["mine"]
    assert [waiter.name for waiter in describe().waiters] == ["other"]
    release(mine, held.token)
    waiting.join()
    assert got.get().token > held.token
    names = [(one.lock, one.holders) for one in locks.List(k.ListRequest(prefix="p"), timeout=30).locks]
    assert names == [("py", 1)], names
    leases.Revoke(l.RevokeRequest(lease=other), timeout=30)
    assert len(describe().holders) == 0
    code, info, _ = refused(lambda: acquire(other, wait_ms=0))
    assert (code, info.reason) == (CODE.NOT_FOUND, "SESSION_EXPIRED"), info


def lock_modes():
    def acquire(name, **more):
        request = k.AcquireRequest(lock=name, session=grant(), request_id=b"r", wait_ms=0, **more)
        return locks.Acquire(request, timeout=30)

    for _ in range(2):
        acquire("py/shared", mode=k.LOCK_MODE_SHARED)
        acquire("py/two", mode=k.LOCK_MODE_SEMAPHORE, permits=2)
    for name, more in (("py/shared", {}), ("py/two", {"mode": k.LOCK_MODE_SEMAPHORE, "permits": 2})):
        assert refused(lambda: acquire(name, **more))[1].reason == "LOCK_HELD", name
    other = lambda: acquire("py/two", mode=k.LOCK_MODE_SEMAPHORE, permits=3)
    assert refused(other)[1].reason == "LOCK_MODE_MISMATCH"


def election():
    campaign = lambda session, value, **more: elections.Campaign(
        e.CampaignRequest(election="py", session=session, value=value, **more), timeout=30
    )
    first, second = grant(name="first"), grant(name="second")
    token = campaign(first, b"here:1").token
    observing = elections.Observe(e.ObserveRequest(election="py"), timeout=60)
    told = lambda: next(observing)
    assert told().leader.value == b"here:1"
    assert refused(lambda: campaign(second, b"there:2", wait_ms=100))[1].reason == "ELECTION_TIMED_OUT"
    elections.Proclaim(e.ProclaimRequest(election="py", session=first, token=token, value=b"here:2"), timeout=30)
    seen = told()
    while seen.leader.value != b"here:2":
        seen = told()
    stranger = e.ProclaimRequest(election="py", session=second, token=token, value=b"x")
    code, info, _ = refused(lambda: elections.Proclaim(stranger, timeout=30))
    assert (code, info.reason) == (CODE.FAILED_PRECONDITION, "NOT_ELECTED"), info
    elections.Resign(e.ResignRequest(election="py", session=first, token=token), timeout=30)
    while seen.HasField("leader"):
        seen = told()
    assert campaign(second, b"there:2").token > token
    described = elections.Describe(e.DescribeRequest(election="py"), timeout=30)
    assert (described.leader.name, described.leader.value) == ("second", b"there:2"), described
    observing.cancel()


def unique_ids():
    response = ids.Next(i.NextRequest(count=1000), timeout=30)
    made = [number for block in response.blocks for number in range(block.first, block.first + block.count)]
    assert len(set(made)) == 1000 and made == sorted(made) and 0 < made[0] < made[-1] < 2**63
    described = ids.Describe(i.DescribeRequest(id=made[0]), timeout=30)
    assert described.worker == (made[0] >> 12) & 1023, described
    following = lambda count: ids.NextInSequence(i.NextInSequenceRequest(name="py", count=count), timeout=30).first
    assert [following(1), following(10), following(1)] == [1, 2, 12]


def error_details():
    code, info, own = refused(lambda: put(b"py/e", b"x" * 1048577))
    assert (code, info.reason, info.domain) == (CODE.INVALID_ARGUMENT, "VALUE_TOO_LARGE", "holdfast"), info
    assert (info.metadata["actual"], info.metadata["limit"]) == ("1048577", "1048576"), info
    assert own.outcome == error_pb2.OUTCOME_NOT_APPLIED, own
    current = put(b"py/e", b"1").revision
    code, info, own = refused(lambda: put(b"py/e", b"2", if_mod_revision=current - 1))
    assert (code, info.reason) == (CODE.ABORTED, "REVISION_MISMATCH"), info
    assert own.current_version == current, own
    reasons = {
        "KEY_EMPTY": lambda: put(b"", b""),
        "KEY_RESERVED": lambda: put(b"/holdfast/x", b""),
        "LEASE_UNKNOWN": lambda: put(b"py/e", b"", lease=99),
        "REVISION_FUTURE": lambda: get(b"py/e", revision=current + 100000),
        "TTL_OUT_OF_RANGE": lambda: leases.Grant(l.GrantRequest(ttl_ms=1), timeout=30),
        "LOCK_NAME_INVALID": lambda: locks.Describe(k.DescribeRequest(lock=""), timeout=30),
        "COUNT_OUT_OF_RANGE": lambda: ids.Next(i.NextRequest(count=65537), timeout=30),
    }
    for reason, call in reasons.items():
        assert refused(call)[1].reason == reason, (reason, refused(call))
    assert get(b"py/e").value == b"1"


globals()[CASE]()
