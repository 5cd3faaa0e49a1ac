"""Python's etcd3, which knows nothing of us, against three nodes of which one after the other is killed.

    etcd_client.py HOST:PORT,HOST:PORT,HOST:PORT

Says "begun" after its first round, goes on until its standard input ends, then judges what it
saw, and prints what it did as a line of JSON. Whatever is wrong ends it with a traceback.
"""
import io
import json
import sys
import threading
import time

import etcd3
import grpc
from etcd3.exceptions import Etcd3Exception

ENDPOINTS = [endpoint.rsplit(":", 1) for endpoint in sys.argv[1].split(",")]
PATIENCE_S = 30
CALL_S = 3
# Of a lease that is refreshed in each round, and of one that nobody refreshes.
KEPT_S = 10
LEFT_S = 2
counts = {"rounds": 0, "done": 0, "repeats": 0, "resumed": 0, "locked": 0}


class Node:
    """A client of one node at a time: this package knows a single address."""

    def __init__(self, first=0):
        self.at = first
        self.client = None

    def connected(self):
        if self.client is None:
            host, port = ENDPOINTS[self.at % len(ENDPOINTS)]
            self.client = etcd3.client(host=host, port=int(port), timeout=CALL_S)
        return self.client

    def leave(self):
        if self.client is not None:
            try:
                self.client.close()
            except Exception:
                pass
        self.client = None
        self.at += 1

    def call(self, work):
        """Repeats what fails while nodes are away; the result, and whether an attempt failed before."""
        ends = time.monotonic() + PATIENCE_S
        failed = False
        while True:
            try:
                result = work(self.connected())
                counts["done"] += 1
                return result, failed
            except (Etcd3Exception, grpc.RpcError) as error:
                failed = True
                counts["repeats"] += 1
                if time.monotonic() > ends:
                    raise AssertionError(f"no node answers: {error!r}")
                self.leave()
                time.sleep(0.05)


class Follower(threading.Thread):
    """Follows a prefix; where a stream breaks it goes on behind the last revision that it was told."""

    def __init__(self, prefix, revision):
        super().__init__(daemon=True)
        self.prefix = prefix
        self.next = revision
        self.events = []
        self.failure = None
        self.is_over = threading.Event()
        self.node = Node(1)

    def run(self):
        try:
            while not self.is_over.is_set():
                try:
                    events, self.cancel = self.node.connected().watch_prefix(self.prefix, start_revision=self.next)
                    for event in events:
                        self.note(event)
                except (Etcd3Exception, grpc.RpcError):
                    counts["resumed"] += 1
                    self.node.leave()
                    time.sleep(0.05)
        except Exception as error:  # told by the main thread
            self.failure = error

    def note(self, event):
        deleted = isinstance(event, etcd3.events.DeleteEvent)
        self.events.append((event.mod_revision, event.key.decode(), None if deleted else event.value.decode()))
        self.next = event.mod_revision + 1

    def wait_for(self, key, value):
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            if self.failure is not None:
                raise self.failure
            if any((told[1], told[2]) == (key, value) for told in self.events):
                return
            time.sleep(0.02)
        raise AssertionError(f"{key} = {value} was not told; {len(self.events)} events were")


def keys_and_values(node, number):
    """Keys: put, get, prefixes, deletes."""
    for at in range(5):
        node.call(lambda client: client.put(f"py/keys/{at}", f"{number}.{at}"))
    for at in range(5):
        (value, meta), _ = node.call(lambda client: client.get(f"py/keys/{at}"))
        assert value == f"{number}.{at}".encode(), (value, number, at)
        assert meta.key == f"py/keys/{at}".encode() and meta.mod_revision >= meta.create_revision > 0
    found, _ = node.call(lambda client: list(client.get_prefix("py/keys/", sort_order="descend", sort_target="key")))
    assert [meta.key for _, meta in found] == [f"py/keys/{at}".encode() for at in range(4, -1, -1)]
    found, _ = node.call(lambda client: list(client.get_range("py/keys/1", "py/keys/3")))
    assert [value for value, _ in found] == [f"{number}.{at}".encode() for at in (1, 2)], found
    everything, _ = node.call(lambda client: [meta.key for _, meta in client.get_all()])
    assert everything == sorted(everything) and {meta.key for _, meta in found} < set(everything), everything
    for at in range(3):
        node.call(lambda client: client.put(f"py/many/{at}", "x"))
    answer, failed = node.call(lambda client: client.delete_prefix("py/many/"))
    assert answer.deleted == 3 or failed, answer
    (_, deleted), _ = node.call(lambda client: (client.put("py/gone", "x"), client.delete("py/gone")))
    assert deleted
    (value, meta), _ = node.call(lambda client: client.get("py/gone"))
    assert value is None and meta is None


def conditions(node, number):
    """Compare and set, create only, and transactions."""
    node.call(lambda client: client.put("py/cas", f"{number}"))
    replaced, failed = node.call(lambda client: client.replace("py/cas", f"{number}", f"{number}!"))
    assert replaced or failed  # the attempt that failed may have done it
    replaced, _ = node.call(lambda client: client.replace("py/cas", "what never was", "y"))
    assert not replaced
    created, failed = node.call(lambda client: client.put_if_not_exists(f"py/once/{number}", "1"))
    assert created or failed
    created, _ = node.call(lambda client: client.put_if_not_exists(f"py/once/{number}", "2"))
    assert not created

    def transaction(client):
        t = client.transactions
        return client.transaction(
            compare=[t.value("py/cas") == f"{number}!", t.version("py/nothing") == 0],
            success=[t.put("py/tx", f"{number}"), t.get("py/cas")],
            failure=[t.delete("py/tx")],
        )

    (succeeded, answers), _ = node.call(transaction)
    assert succeeded and answers[1][0][0] == f"{number}!".encode(), (succeeded, answers)
    (value, _), _ = node.call(lambda client: client.get("py/tx"))
    assert value == f"{number}".encode()
    (succeeded, answers), _ = node.call(within_another)
    assert succeeded, answers
    inner, read = answers[0].response_txn, answers[1]
    assert not inner.succeeded and [one.WhichOneof("response") for one in inner.responses] == [
        "response_put",
        "response_delete_range",
    ], inner
    assert [(value, meta.key) for value, meta in read] == [(b"inner", b"py/nested")], read


def within_another(client):
    """What a transaction within another does is seen by what comes after it."""
    t = client.transactions
    otherwise = [t.put("py/nested", "inner"), t.delete("py/nothing")]
    return client.transaction(
        compare=[t.mod("py/tx") > 0, t.create("py/nothing") < 1],
        success=[t.txn([t.version("py/tx") == 0], [t.delete("py/tx")], otherwise), t.get("py/nested")],
        failure=[],
    )


def leases(node, number):
    """A key goes with its lease, and not while that is kept alive."""
    lease, _ = node.call(lambda client: client.lease(20))
    node.call(lambda client: client.put("py/leased", f"{number}", lease=lease.id))
    answers, _ = node.call(lambda client: list(client.refresh_lease(lease.id)))
    assert answers[0].TTL == 20, answers
    info, _ = node.call(lambda client: client.get_lease_info(lease.id))
    assert 0 < info.TTL <= 20 and list(info.keys) == [b"py/leased"], info
    if number % 2 == 0:
        node.call(lambda client: unless(grpc.StatusCode.NOT_FOUND, client.revoke_lease, lease.id))
    (value, _), _ = node.call(lambda client: client.get("py/leased"))
    assert (value is None) == (number % 2 == 0), (value, number)


def locks(node):
    """Nobody else counts meanwhile: what is acknowledged is counted once."""

    def count(client):
        lock = client.lock("py-counter", ttl=5)
        take(lock)
        value = int(client.get("py/count")[0] or 0)
        client.put("py/count", str(value + 1))
        lock.release()

    node.call(count)
    counts["locked"] += 1


def exclusion(node):
    """What one holds another does not, keeps through a refresh, and cannot give back."""

    def both(client):
        first, second = (client.lock("py-held", ttl=5) for _ in range(2))
        take(first)
        assert (first.is_acquired(), second.is_acquired(), second.release()) == (True, False, False)
        assert [answer.TTL for answer in first.refresh()] == [5]
        assert first.release() and not first.is_acquired()

    node.call(both)


def watch_once(node):
    """A watch that is over with its first message, which another thread brings about."""

    def once(client):
        revision = client.get("py/start")[1].response_header.revision
        puts = threading.Thread(target=lambda: node.call(lambda other: other.put("py/once-watched", "x")))
        puts.start()
        try:
            event = client.watch_once("py/once-watched", timeout=CALL_S, start_revision=revision + 1)
        finally:
            puts.join()
        assert (event.key, event.value) == (b"py/once-watched", b"x"), event

    node.call(once)


def maintenance(node):
    """What is asked of a node, and of the cluster."""
    members, _ = node.call(lambda client: list(client.members))
    assert sorted(member.name for member in members) == ["n1", "n2", "n3"], members
    assert all(len(member.client_urls) == 1 for member in members), members
    status, _ = node.call(lambda client: client.status())
    assert status.leader.id in {member.id for member in members} and status.version.startswith("3."), status
    assert status.raft_term > 0 and status.raft_index > 0 and status.db_size > 0, vars(status)
    alarms, _ = node.call(lambda client: list(client.list_alarms()))
    assert alarms == []
    node.call(lambda client: client.defragment())
    digest, _ = node.call(lambda client: client.hash())
    assert digest > 0
    taken, _ = node.call(snapshot_of)
    assert taken % 512 == 32, taken  # whole blocks, and a checksum


def snapshot_of(client):
    into = io.BytesIO()
    client.snapshot(into)
    return len(into.getvalue())


def take(lock):
    """The package's own way of waiting fails with Debian's tenacity: a lock that is held is tried again."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        try:
            if lock.acquire(timeout=1):
                return
        except TypeError:
            time.sleep(0.1)
    raise AssertionError("the lock was never free")


def main():
    node = Node()
    (_, revision), _ = node.call(lambda client: (client.put("py/start", "x"), client.get("py/start")[1].mod_revision))
    follower = Follower("py/keys/", revision)
    follower.start()
    kept, _ = node.call(lambda client: client.lease(KEPT_S))
    left, _ = node.call(lambda client: client.lease(LEFT_S))
    for name, lease in (("kept", kept), ("left", left)):
        node.call(lambda client: client.put(f"py/{name}", "x", lease=lease.id))
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    number = 0
    while number < 3 or not over.is_set():
        number += 1
        keys_and_values(node, number)
        conditions(node, number)
        leases(node, number)
        locks(node)
        exclusion(node)
        maintenance(node)
        answers, _ = node.call(lambda client: list(client.refresh_lease(kept.id)))
        assert [answer.TTL for answer in answers] == [KEPT_S], answers
        counts["rounds"] = number
        if number == 1:
            print("begun", flush=True)
    follower.wait_for("py/keys/4", f"{number}.4")
    revisions = [told[0] for told in follower.events]
    assert revisions == sorted(set(revisions)), "not in order, or twice"
    told = {(key, value) for _, key, value in follower.events}
    for round_of in range(1, number + 1):
        for at in range(5):
            assert (f"py/keys/{at}", f"{round_of}.{at}") in told, f"round {round_of} was not told whole"
    counted = int(node.call(lambda client: client.get("py/count")[0])[0])
    assert counted >= counts["locked"], (counted, counts)
    watch_once(node)
    assert node.call(lambda client: client.get("py/kept")[0])[0] == b"x"
    wait_until_gone(node, "py/left")
    (_, meta), _ = node.call(lambda client: client.get("py/start"))
    compacted = follower.events[-1][0]
    node.call(lambda client: unless(grpc.StatusCode.OUT_OF_RANGE, client.compact, compacted))
    node.call(lambda client: expect_compacted(client, meta.mod_revision))
    print(json.dumps({**counts, "events": len(revisions)}), flush=True)


def wait_until_gone(node, key):
    ends = time.monotonic() + PATIENCE_S
    while node.call(lambda client: client.get(key)[0])[0] is not None:
        assert time.monotonic() < ends, f"{key} outlives its lease"
        time.sleep(0.05)


def unless(done, work, argument):
    """An attempt that failed may have done it, which the next one is told by a status."""
    try:
        work(argument)
    except grpc.RpcError as error:
        if error.code() != done:
            raise


def expect_compacted(client, revision):
    """A watch from what is forgotten says from where on something is known, as soon as its node has forgotten it."""
    ends = time.monotonic() + PATIENCE_S
    while time.monotonic() < ends:
        events, cancel = client.watch_prefix("py/", start_revision=revision)
        try:
            next(iter(events))
        except etcd3.exceptions.RevisionCompactedError as error:
            assert error.compacted_revision > revision
            return
        finally:
            cancel()
    raise AssertionError("what is forgotten was told")


main()
