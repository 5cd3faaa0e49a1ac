"""Uses a node through a client that protoc made from the contracts: `kv_client.py OUT ENDPOINT CASE`."""

import sys

OUT, ENDPOINT, CASE = sys.argv[1:4]
sys.path.insert(0, OUT)

import google  # noqa: E402
import grpc  # noqa: E402

# The package `google` of the system does not look for its parts elsewhere by itself.
google.__path__.append(OUT + "/google")

from google.rpc import error_details_pb2, status_pb2  # noqa: E402
from holdfast.error.v1 import error_pb2  # noqa: E402
from holdfast.kv.v1 import keyspace_pb2, keyspace_pb2_grpc, kv_pb2, kv_pb2_grpc  # noqa: E402

channel = grpc.insecure_channel(ENDPOINT)
kv = kv_pb2_grpc.KvServiceStub(channel)
KS = "default"


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
        return error.code(), info, own
    raise AssertionError("the call was not refused")


def get(key):
    response = kv.Get(kv_pb2.GetRequest(keyspace=KS, key=key), timeout=30)
    return response.entry if response.HasField("entry") else None


def put_and_get():
    version = kv.Put(kv_pb2.PutRequest(keyspace=KS, key=b"py/a", value=b"\xff\x00", ttl_ms=60000), timeout=30).version
    assert version > 0
    entry = get(b"py/a")
    assert (entry.key, entry.value, entry.version) == (b"py/a", b"\xff\x00", version), entry
    assert entry.HasField("expires_at_ms")
    assert get(b"py/none") is None
    forever = kv.Put(kv_pb2.PutRequest(keyspace=KS, key=b"py/b", value=b""), timeout=30).version
    entry = get(b"py/b")
    assert entry.version == forever and not entry.HasField("expires_at_ms"), entry


def create_only():
    request = kv_pb2.CreateRequest(keyspace=KS, key=b"py/create", value=b"1")
    version = kv.Create(request, timeout=30).version
    code, info, own = refused(lambda: kv.Create(request, timeout=30))
    assert code == grpc.StatusCode.ALREADY_EXISTS, code
    assert (info.reason, info.domain) == ("KEY_EXISTS", "holdfast"), info
    assert info.metadata["outcome"] == "NOT_APPLIED", info
    assert own.current_version == version and own.outcome == error_pb2.OUTCOME_NOT_APPLIED, own


def compare_and_set():
    first = kv.Put(kv_pb2.PutRequest(keyspace=KS, key=b"py/cas", value=b"1"), timeout=30).version
    second = kv.CompareAndSet(
        kv_pb2.CompareAndSetRequest(keyspace=KS, key=b"py/cas", expected_version=first, value=b"2"), timeout=30
    ).version
    stale = kv_pb2.CompareAndSetRequest(keyspace=KS, key=b"py/cas", expected_version=first, value=b"3")
    code, info, own = refused(lambda: kv.CompareAndSet(stale, timeout=30))
    assert (code, info.reason) == (grpc.StatusCode.ABORTED, "VERSION_MISMATCH"), info
    assert own.current_version == second, own
    wrong = kv_pb2.CompareAndSetRequest(keyspace=KS, key=b"py/cas", expected_value=b"1", value=b"3")
    assert refused(lambda: kv.CompareAndSet(wrong, timeout=30))[1].reason == "VALUE_MISMATCH"
    none = kv_pb2.CompareAndSetRequest(keyspace=KS, key=b"py/cas", value=b"3")
    code, info, _ = refused(lambda: kv.CompareAndSet(none, timeout=30))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "COMPARISON_MISSING"), info
    assert get(b"py/cas").value == b"2"


def increment():
    add = lambda **more: kv.Increment(kv_pb2.IncrementRequest(keyspace=KS, key=b"py/n", **more), timeout=30).value
    assert [add(), add(delta=41), add(delta=-2)] == [1, 42, 40]
    assert get(b"py/n").value == b"40"
    kv.Put(kv_pb2.PutRequest(keyspace=KS, key=b"py/n", value=b"x"), timeout=30)
    assert refused(add)[1].reason == "NOT_A_COUNTER"


def scan():
    keys = [b"py/s/%d" % i for i in range(7)]
    for key in keys:
        kv.Put(kv_pb2.PutRequest(keyspace=KS, key=key, value=key), timeout=30)
    parts = list(kv.Scan(kv_pb2.ScanRequest(keyspace=KS, prefix=b"py/s/"), timeout=30))
    assert [entry.key for part in parts for entry in part.entries] == keys
    first = list(kv.Scan(kv_pb2.ScanRequest(keyspace=KS, prefix=b"py/s/", limit=3), timeout=30))
    token = first[-1].continuation
    rest = list(kv.Scan(kv_pb2.ScanRequest(keyspace=KS, prefix=b"py/s/", continuation=token), timeout=30))
    assert [entry.key for part in first + rest for entry in part.entries] == keys
    bounds = kv_pb2.Range(start=keys[1], end=keys[4])
    ranged = list(kv.Scan(kv_pb2.ScanRequest(keyspace=KS, range=bounds, keys_only=True), timeout=30))
    assert [(entry.key, entry.value) for part in ranged for entry in part.entries] == [(key, b"") for key in keys[1:4]]


def batch():
    put = lambda key: kv_pb2.Mutation(key=key, put=kv_pb2.Put(value=key))
    taken = kv_pb2.Mutation(key=b"py/b/1", create=kv_pb2.Create(value=b"again"))
    request = kv_pb2.BatchWriteRequest(keyspace=KS, mutations=[put(b"py/b/1"), put(b"py/b/2"), taken])
    results = kv.BatchWrite(request, timeout=30).results
    assert [result.WhichOneof("result") for result in results] == ["applied", "applied", "error"], results
    assert results[2].error.reason == "KEY_EXISTS"
    wanted = kv_pb2.BatchGetRequest(keyspace=KS, keys=[b"py/b/2", b"py/b/none", b"py/b/1"])
    found = kv.BatchGet(wanted, timeout=30).results
    assert [result.HasField("entry") for result in found] == [True, False, True], found
    assert found[2].entry.value == b"py/b/1"


def delete():
    kv.Put(kv_pb2.PutRequest(keyspace=KS, key=b"py/d", value=b"1"), timeout=30)
    request = kv_pb2.DeleteRequest(keyspace=KS, key=b"py/d")
    assert kv.Delete(request, timeout=30).existed
    assert not kv.Delete(request, timeout=30).existed
    assert get(b"py/d") is None


def error_details():
    big = kv_pb2.PutRequest(keyspace=KS, key=b"py/e", value=b"x" * 1048577)
    code, info, own = refused(lambda: kv.Put(big, timeout=30))
    assert (code, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "VALUE_TOO_LARGE"), info
    facts = {"outcome": "NOT_APPLIED", "field": "value", "actual": "1048577", "limit": "1048576"}
    assert dict(info.metadata) == facts, info
    assert own.reason == info.reason and "1,048,577" in own.message, own
    code, info, _ = refused(lambda: kv.Get(kv_pb2.GetRequest(keyspace="nowhere", key=b"k"), timeout=30))
    assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "KEYSPACE_UNKNOWN"), info


def applied_once():
    sequence = kv_pb2.Sequence(client_id=b"0123456789abcdef", sequence=1, open=True)
    request = kv_pb2.IncrementRequest(keyspace=KS, key=b"py/once", options=kv_pb2.WriteOptions(sequence=sequence))
    assert [kv.Increment(request, timeout=30).value for _ in range(3)] == [1, 1, 1]


def pipeline():
    mutation = kv_pb2.Mutation(key=b"py/p", put=kv_pb2.Put(value=b"1"))
    calls = [
        kv_pb2.PipelineCall(id=1, mutation=mutation),
        kv_pb2.PipelineCall(id=2, get=kv_pb2.PipelineGet(key=b"py/p")),
        kv_pb2.PipelineCall(id=3),
    ]
    stream = kv.Pipeline(iter([kv_pb2.PipelineRequest(keyspace=KS, calls=calls)]), timeout=30)
    results = {result.id: result for part in stream for result in part.results}
    assert results[1].mutation.version > 0, results
    assert results[2].get.entry.value == b"1", results
    assert results[3].error.reason == "OPERATION_MISSING", results


def keyspaces():
    service = keyspace_pb2_grpc.KeyspaceServiceStub(channel)
    made = service.CreateKeyspace(keyspace_pb2.CreateKeyspaceRequest(name="py", partitions=1), timeout=30).keyspace
    assert (made.name, len(made.partitions)) == ("py", 1), made
    names = [one.name for one in service.ListKeyspaces(keyspace_pb2.ListKeyspacesRequest(), timeout=30).keyspaces]
    assert names == ["default", "py"], names
    service.DropKeyspace(keyspace_pb2.DropKeyspaceRequest(name="py"), timeout=30)


globals()[CASE]()
