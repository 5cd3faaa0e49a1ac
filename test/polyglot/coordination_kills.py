"""Uses a cluster, some of whose nodes may be down at any time, through a client that protoc made
from the contracts: `coordination_kills.py OUT ENDPOINT,ENDPOINT,… CASE SECONDS`."""

import os
import sys
import threading
import time

OUT, ENDPOINTS, CASE, SECONDS = sys.argv[1:5]
sys.path.insert(0, OUT)

import google  # noqa: E402
import grpc  # noqa: E402

# The package `google` of the system does not look for its parts elsewhere by itself.
google.__path__.append(OUT + "/google")

from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from holdfast.config.v1 import config_pb2 as config_pb, config_pb2_grpc  # noqa: E402
from holdfast.election.v1 import election_pb2 as election_pb, election_pb2_grpc  # noqa: E402
from holdfast.error.v1 import error_pb2  # noqa: E402
from holdfast.id.v1 import id_pb2 as id_pb, id_pb2_grpc  # noqa: E402
from holdfast.kv.v1 import kv_pb2  # noqa: E402
from holdfast.lease.v1 import lease_pb2 as lease_pb, lease_pb2_grpc  # noqa: E402
from holdfast.lock.v1 import lock_pb2 as lock_pb, lock_pb2_grpc  # noqa: E402

STUBS = {
    "config": config_pb2_grpc.ConfigServiceStub,
    "lease": lease_pb2_grpc.LeaseServiceStub,
    "lock": lock_pb2_grpc.LockServiceStub,
    "election": election_pb2_grpc.ElectionServiceStub,
    "id": id_pb2_grpc.IdServiceStub,
}
# How often a node that was killed is looked for again.
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]
channels = [grpc.insecure_channel(endpoint, options=OPTIONS) for endpoint in ENDPOINTS.split(",")]
PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
CLIENT = os.urandom(16)
end = time.monotonic() + float(SECONDS)
repeats = 0


class Counter:
    value = 0


def sequence():
    """An identity: with it a write that is sent again is applied once."""
    Counter.value += 1
    return kv_pb2.Sequence(client_id=CLIENT, sequence=Counter.value, acked_below=Counter.value, open=True)


def info_of(error):
    trailers = dict(error.trailing_metadata() or ())
    if "grpc-status-details-bin" not in trailers:
        return None, None
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    info, own = error_details_pb2.ErrorInfo(), error_pb2.Error()
    assert any(detail.Unpack(info) for detail in status.details), status
    assert any(detail.Unpack(own) for detail in status.details), status
    return info, own


def ask(service, method, request, timeout=5):
    """Calls one node after the other until one answers; the request is safe to send again."""
    global repeats
    for attempt in range(300):
        stub = STUBS[service](channels[(attempt + Counter.value) % len(channels)])
        try:
            return getattr(stub, method)(request, timeout=timeout)
        except grpc.RpcError as error:
            info, _ = info_of(error)
            is_ours = info is not None and info.reason in ("LOCK_TIMED_OUT", "ELECTION_TIMED_OUT")
            if error.code() not in PASSING or is_ours:
                raise
            repeats += 1
            time.sleep(0.05)
    raise AssertionError(f"{service}.{method} was not answered")


def refused(call):
    """The gRPC code, the reason and our own detail of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        info, own = info_of(error)
        return error.code(), info.reason, own
    raise AssertionError("the call was not refused")


def key(text):
    return config_pb.KeySelection(key=text)


def put(name, value, **more):
    return ask("config", "Put", config_pb.PutRequest(key=name, value=value, sequence=sequence(), **more))


def get(name, **options):
    request = config_pb.GetRequest(key=name, options=config_pb.ReadOptions(**options))
    response = ask("config", "Get", request)
    return response.entry if response.HasField("entry") else None


def config():
    """Compare-and-set, transactions, lists and history; nothing is lost or done twice."""
    rounds, counted, first = 0, 0, None
    while time.monotonic() < end:
        entry = get(b"py/counter")
        seen = entry.mod_revision if entry else 0
        answer = put(b"py/counter", str(counted + 1).encode(), if_mod_revision=seen)
        counted += 1
        first = first or answer.revision
        assert get(b"py/counter").value == str(counted).encode()
        both = config_pb.Transaction(
            comparisons=[config_pb.Comparison(selection=key(b"py/counter"), value=str(counted).encode())],
            then_operations=[
                config_pb.Operation(put=config_pb.PutRequest(key=b"py/a", value=str(rounds).encode())),
                config_pb.Operation(put=config_pb.PutRequest(key=b"py/b", value=str(rounds).encode())),
            ],
        )
        done = ask("config", "Transact", config_pb.TransactRequest(transaction=both, sequence=sequence()))
        assert done.succeeded and len(done.results) == 2, done
        listed = ask("config", "List", config_pb.ListRequest(selection=config_pb.KeySelection(prefix=b"py/")))
        values = {each.key: each.value for each in listed.entries}
        assert values[b"py/a"] == values[b"py/b"] == str(rounds).encode(), values
        rounds += 1
    assert get(b"py/counter", revision=first).value == b"1"
    code, reason, own = refused(lambda: put(b"py/counter", b"x", if_mod_revision=first))
    assert (code, reason) == (grpc.StatusCode.ABORTED, "REVISION_MISMATCH"), reason
    assert own.outcome == error_pb2.OUTCOME_NOT_APPLIED and own.current_version > first, own
    assert refused(lambda: put(b"", b"x"))[1] == "KEY_EMPTY"
    assert refused(lambda: put(b"/holdfast/x", b"x"))[1] == "KEY_RESERVED"
    code, reason, own = refused(lambda: get(b"py/a", revision=2**40))
    assert (code, reason, own.field) == (grpc.StatusCode.OUT_OF_RANGE, "REVISION_FUTURE", "revision"), own
    return rounds


def watch():
    """A watch that goes on at another node where it was: every change once, in order."""
    start = ask("config", "Describe", config_pb.DescribeRequest()).revision + 1
    seen, position, over, streams = [], start, threading.Event(), 0

    def follow():
        nonlocal position, streams
        while not over.is_set():
            creation = config_pb.CreateWatch(
                watch_id=7, selection=config_pb.KeySelection(prefix=b"pyw/"), start_revision=position
            )
            waiting = threading.Event()

            def requests():
                yield config_pb.WatchRequest(create=creation)
                waiting.wait()

            stub = STUBS["config"](channels[streams % len(channels)])
            streams += 1
            stream = stub.Watch(requests(), timeout=3)
            try:
                for response in stream:
                    for said in [response, *response.further]:
                        if said.HasField("events"):
                            seen.extend(said.events.events)
                            position = said.events.revision + 1
                    if over.is_set():
                        break
            except grpc.RpcError:
                time.sleep(0.05)
            finally:
                waiting.set()
                stream.cancel()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    written = []
    while time.monotonic() < end:
        value = str(len(written)).encode()
        written.append((put(b"pyw/" + str(len(written) % 3).encode(), value).revision, value))
        time.sleep(0.01)
    while position <= written[-1][0]:
        time.sleep(0.05)
    over.set()
    follower.join(10)
    assert [(each.entry.mod_revision, each.entry.value) for each in seen] == written
    assert streams > 1
    return len(written)


def grant(ttl_ms):
    request = lease_pb.GrantRequest(ttl_ms=ttl_ms, name="python", sequence=sequence())
    return ask("lease", "Grant", request).lease


def lease():
    """A lease that is kept alive stays, one that is not ends with its keys."""
    kept, left = grant(3000), grant(3000)
    for number in (kept, left):
        put(b"pyl/" + str(number).encode(), b"x", lease=number)
    rounds = 0
    while time.monotonic() < end or rounds < 5:
        answer = ask("lease", "KeepAlive", lease_pb.KeepAliveRequest(leases=[kept]))
        assert [each.ttl_ms for each in answer.leases] == [3000], answer
        rounds += 1
        time.sleep(0.5)
    ended = time.monotonic() + 30
    while get(b"pyl/" + str(left).encode()) is not None:
        assert time.monotonic() < ended, "a lease that nobody keeps alive does not end"
        ask("lease", "KeepAlive", lease_pb.KeepAliveRequest(leases=[kept]))
        time.sleep(0.2)
    described = ask("lease", "Describe", lease_pb.DescribeRequest(lease=kept, with_keys=True))
    assert described.name == "python" and described.keys == [b"pyl/" + str(kept).encode()], described
    gone = lease_pb.DescribeRequest(lease=left)
    assert refused(lambda: ask("lease", "Describe", gone))[:2] == (grpc.StatusCode.NOT_FOUND, "LEASE_UNKNOWN")
    ask("lease", "Revoke", lease_pb.RevokeRequest(lease=kept, sequence=sequence()))
    assert get(b"pyl/" + str(kept).encode()) is None
    assert refused(lambda: grant(1))[1] == "TTL_OUT_OF_RANGE"
    return rounds


def lock():
    """Two sessions take a lock in turn; tokens grow, and a stale release frees nothing."""
    sessions = [grant(60000), grant(60000)]
    rounds, last = 0, 0
    while time.monotonic() < end or rounds < 5:
        session, other = sessions[rounds % 2], sessions[(rounds + 1) % 2]
        request_id = b"r%d" % rounds
        mine = lock_pb.AcquireRequest(lock="py", session=session, request_id=request_id, wait_ms=4000)
        token = ask("lock", "Acquire", mine).token
        assert token > last, (token, last)
        theirs = lock_pb.AcquireRequest(lock="py", session=other, request_id=request_id, wait_ms=0)
        code, reason, _ = refused(lambda: ask("lock", "Acquire", theirs))
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "LOCK_HELD"), reason
        stale = lock_pb.ReleaseRequest(lock="py", session=other, request_id=request_id, token=last or 1)
        assert refused(lambda: ask("lock", "Release", stale))[1] == "LOCK_NOT_HELD"
        again = ask("lock", "Acquire", mine)
        assert (again.token, again.holds) == (token, 1), again
        mine = lock_pb.ReleaseRequest(lock="py", session=session, request_id=request_id, token=token)
        before = repeats
        try:
            ask("lock", "Release", mine)
        except grpc.RpcError as error:
            # Sent again, a release finds that it was done.
            assert repeats > before and info_of(error)[0].reason == "LOCK_NOT_HELD", error
        rounds, last = rounds + 1, token
    return rounds


def election():
    """Candidates lead in turn, and everybody can see who."""
    sessions = [grant(60000), grant(60000)]
    rounds = 0
    while time.monotonic() < end or rounds < 5:
        session, other = sessions[rounds % 2], sessions[(rounds + 1) % 2]
        says = b"candidate %d" % rounds
        mine = election_pb.CampaignRequest(election="py", session=session, value=says, wait_ms=4000)
        token = ask("election", "Campaign", mine).token
        leader = ask("election", "Describe", election_pb.DescribeRequest(election="py")).leader
        assert (leader.token, leader.value, leader.name) == (token, says, "python"), leader
        theirs = election_pb.CampaignRequest(election="py", session=other, value=b"x", wait_ms=100)
        assert refused(lambda: ask("election", "Campaign", theirs))[1] == "ELECTION_TIMED_OUT"
        for response in STUBS["election"](channels[0]).Observe(
            election_pb.ObserveRequest(election="py"), timeout=5, wait_for_ready=True
        ):
            assert response.leader.token == token, response
            break
        before = repeats
        try:
            ask("election", "Resign", election_pb.ResignRequest(election="py", session=session, token=token))
        except grpc.RpcError as error:
            assert repeats > before and info_of(error)[0].reason == "NOT_ELECTED", error
        rounds += 1
    return rounds


def ids():
    """IDs and numbers of a sequence: none twice, numbers without gaps."""
    taken, numbers = set(), []
    while time.monotonic() < end:
        answer = ask("id", "Next", id_pb.NextRequest(count=100))
        block = [block.first + at for block in answer.blocks for at in range(block.count)]
        assert len(block) == 100 and taken.isdisjoint(block)
        taken.update(block)
        request = id_pb.NextInSequenceRequest(name="py", count=2, sequence=sequence())
        numbers.append(ask("id", "NextInSequence", request).first)
    assert numbers == list(range(1, 2 * len(numbers), 2)), numbers
    described = ask("id", "Describe", id_pb.DescribeRequest(id=max(taken)))
    assert abs(described.time_ms / 1000 - time.time()) < 60, described
    for count in (0, 65537):
        assert refused(lambda: ask("id", "Next", id_pb.NextRequest(count=count)))[1] == "COUNT_OUT_OF_RANGE"
    return len(numbers)


print(f"{CASE}: {globals()[CASE]()} rounds, {repeats} calls sent again")
