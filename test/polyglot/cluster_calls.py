"""Calls to any node of a cluster through generated clients, repeated as the contracts allow.

A call that fails with UNAVAILABLE goes to the next node, so it is a read, carries a Sequence,
or may be repeated by its contract. Where the generated modules are is in `sys.path` already.
"""

import itertools
import os
import threading
import time

import grpc
from google.rpc import error_details_pb2, status_pb2
from holdfast.error.v1 import error_pb2
from holdfast.kv.v1 import kv_pb2

GIVE_UP_S = 60
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 500)]


def details_of(error):
    """The ErrorInfo and our own detail; (None, None) of an error that gRPC made itself."""
    raw = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if raw is None:
        return None, None
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0], status
    info, own = error_details_pb2.ErrorInfo(), error_pb2.Error()
    assert any(detail.Unpack(info) for detail in status.details), status
    assert any(detail.Unpack(own) for detail in status.details), status
    return info, own


class Identity:
    """Numbers the writes of one client, so that a repeat is applied once."""

    def __init__(self):
        self._client_id = os.urandom(16)
        self._lock = threading.Lock()
        self._last = 0
        self._pending = set()
        self._open = True

    def next(self):
        with self._lock:
            self._last += 1
            self._pending.add(self._last)
            return self._last

    def sequence(self, number):
        with self._lock:
            acked = min(self._pending)
            return kv_pb2.Sequence(client_id=self._client_id, sequence=number, acked_below=acked, open=self._open)

    def answered(self, number):
        with self._lock:
            self._pending.discard(number)
            self._open = False


class Cluster:
    """Its nodes, asked in turn."""

    def __init__(self, endpoints):
        self._channels = [grpc.insecure_channel(endpoint, options=OPTIONS) for endpoint in endpoints]
        self._at = itertools.count(1)
        self._current = self._channels[0]
        self.identity = Identity()
        self.repeats = 0
        self.resumed = 0

    @property
    def channel(self):
        return self._current

    def turn(self):
        """Goes to another node from now on."""
        self._current = self._channels[next(self._at) % len(self._channels)]
        time.sleep(0.05)

    def read(self, stub, method, request):
        return self._call(stub, method, request)

    def repeatable(self, stub, method, request, done=()):
        """A write that its contract lets repeat; `done`: reasons by which a repeat finds it done."""
        return self._call(stub, method, request, done)

    def write(self, stub, method, request):
        """A write with a Sequence of its own."""
        number = self.identity.next()
        request.sequence.CopyFrom(self.identity.sequence(number))
        try:
            return self._call(stub, method, request)
        finally:
            self.identity.answered(number)

    def write_again(self, stub, method, request):
        """A request that was answered, once more with its Sequence."""
        return self._call(stub, method, request)

    def _call(self, stub, method, request, done=()):
        give_up = time.monotonic() + GIVE_UP_S
        is_unknown = False
        while True:
            try:
                return getattr(stub(self.channel), method)(request, timeout=30)
            except grpc.RpcError as error:
                info, own = details_of(error)
                if is_unknown and info is not None and info.reason in done:
                    return None
                if own is None or own.outcome != error_pb2.OUTCOME_NOT_APPLIED:
                    is_unknown = True
                if error.code() != grpc.StatusCode.UNAVAILABLE or time.monotonic() > give_up:
                    raise
                self.repeats += 1
                self.turn()

    def refused(self, call):
        """The gRPC code, the ErrorInfo and our own detail of a call that must fail."""
        try:
            call()
        except grpc.RpcError as error:
            info, own = details_of(error)
            assert info is not None, error
            assert (info.domain, info.reason) == ("holdfast", own.reason), info
            return error.code(), info, own
        raise AssertionError("the call was not refused")
