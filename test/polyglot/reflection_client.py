"""
Uses a node of which it has no contracts: `reflection_client.py OUT ENDPOINT VERSION CASE`.
OUT holds only the reflection protocol, made from the files that gRPC itself publishes.
"""

import sys

OUT, ENDPOINT, VERSION, CASE = sys.argv[1:5]
sys.path.insert(0, OUT)

import importlib  # noqa: E402

import grpc  # noqa: E402
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # noqa: E402

# The generated folder has the name of the package `grpc`, which does not look there by itself.
grpc.__path__.append(OUT + "/grpc")
pb = importlib.import_module(f"grpc.reflection.{VERSION}.reflection_pb2")
stubs = importlib.import_module(f"grpc.reflection.{VERSION}.reflection_pb2_grpc")

channel = grpc.insecure_channel(ENDPOINT)
reflection = stubs.ServerReflectionStub(channel)


def ask(*requests):
    answers = list(reflection.ServerReflectionInfo(iter(requests), timeout=30))
    assert len(answers) == len(requests), answers
    for request, answer in zip(requests, answers):
        assert answer.original_request == request, answer
    return answers


def files_of(symbol):
    (answer,) = ask(pb.ServerReflectionRequest(file_containing_symbol=symbol))
    found = answer.file_descriptor_response.file_descriptor_proto
    assert found, answer
    return [descriptor_pb2.FileDescriptorProto.FromString(each) for each in found]


def pool_of(symbol):
    """A pool with a symbol and all that it needs; fails when a type does not resolve."""
    files = {file.name: file for file in files_of(symbol)}
    pool = descriptor_pool.DescriptorPool()
    added = set()

    def add(name):
        if name in added:
            return
        added.add(name)
        for needed in files[name].dependency:
            add(needed)
        pool.Add(files[name])

    for name in files:
        add(name)
    return pool


def message_class(pool, name):
    descriptor = pool.FindMessageTypeByName(name)
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


def call(pool, service, method, /, **fields):
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request = message_class(pool, described.input_type.full_name)
    response = message_class(pool, described.output_type.full_name)
    invoke = channel.unary_unary(
        f"/{service}/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
    )
    return invoke(request(**fields), timeout=30)


def services():
    (answer,) = ask(pb.ServerReflectionRequest(list_services=""))
    names = sorted(each.name for each in answer.list_services_response.service)
    assert names == [
        "etcdserverpb.Auth",
        "etcdserverpb.Cluster",
        "etcdserverpb.KV",
        "etcdserverpb.Lease",
        "etcdserverpb.Maintenance",
        "etcdserverpb.Watch",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "holdfast.auth.v1.AuthService",
        "holdfast.broker.v1.BrokerService",
        "holdfast.broker.v1.GroupService",
        "holdfast.broker.v1.TopicService",
        "holdfast.cluster.v1.BackupService",
        "holdfast.cluster.v1.ClusterService",
        "holdfast.config.v1.ConfigService",
        "holdfast.election.v1.ElectionService",
        "holdfast.id.v1.IdService",
        "holdfast.kv.v1.KeyspaceService",
        "holdfast.kv.v1.KvService",
        "holdfast.lease.v1.LeaseService",
        "holdfast.lock.v1.LockService",
        "holdfast.raft.v1.BootstrapService",
        "holdfast.raft.v1.ForwardService",
        "holdfast.raft.v1.PeerService",
        "v3electionpb.Election",
        "v3lockpb.Lock",
    ], names
    for name in names:
        pool_of(name).FindServiceByName(name)


def optional_fields():
    file = next(file for file in files_of("holdfast.kv.v1.PutRequest") if file.name == "holdfast/kv/v1/kv.proto")
    put = next(message for message in file.message_type if message.name == "PutRequest")
    ttl = next(field for field in put.field if field.name == "ttl_ms")
    assert ttl.proto3_optional and ttl.HasField("oneof_index"), ttl
    assert put.oneof_decl[ttl.oneof_index].name == "_ttl_ms", put
    value = next(field for field in put.field if field.name == "value")
    assert not value.proto3_optional and not value.HasField("oneof_index"), value
    result = next(message for message in file.message_type if message.name == "BatchWriteResult")
    error = next(field for field in result.field if field.name == "error")
    assert error.type_name == ".holdfast.error.v1.Error", error


def map_fields():
    pool = pool_of("google.rpc.ErrorInfo")
    metadata = pool.FindMessageTypeByName("google.rpc.ErrorInfo").fields_by_name["metadata"]
    assert metadata.message_type.name == "MetadataEntry", metadata.message_type.full_name
    assert metadata.message_type.GetOptions().map_entry
    info = message_class(pool, "google.rpc.ErrorInfo")(reason="A", metadata={"field": "key"})
    assert dict(info.metadata) == {"field": "key"}


def put_and_get():
    service = "holdfast.kv.v1.KvService"
    pool = pool_of(service)
    key = f"reflected/{VERSION}".encode()
    version = call(pool, service, "Put", keyspace="default", key=key, value=b"\x00\xff", ttl_ms=60000).version
    entry = call(pool, service, "Get", keyspace="default", key=key).entry
    assert (entry.key, entry.value, entry.version) == (key, b"\x00\xff", version), entry
    assert entry.HasField("expires_at_ms")


def health():
    service = "grpc.health.v1.Health"
    pool = pool_of(service)
    assert call(pool, service, "Check", service="").status == 1
    assert call(pool, service, "Check", service="holdfast.kv.v1.KvService").status == 1


def by_file_and_member():
    (answer,) = ask(pb.ServerReflectionRequest(file_by_filename="holdfast/kv/v1/kv.proto"))
    first = descriptor_pb2.FileDescriptorProto.FromString(answer.file_descriptor_response.file_descriptor_proto[0])
    assert first.name == "holdfast/kv/v1/kv.proto"
    for symbol in ["holdfast.kv.v1.KvService.Put", "holdfast.kv.v1.PutRequest.ttl_ms", "holdfast.kv.v1.Comparator"]:
        assert files_of(symbol)[0].name == "holdfast/kv/v1/kv.proto", symbol


def what_is_not_there():
    answers = ask(
        pb.ServerReflectionRequest(file_containing_symbol="holdfast.kv.v1.Nothing"),
        pb.ServerReflectionRequest(file_containing_symbol="holdfast.kv.v1"),
        pb.ServerReflectionRequest(file_containing_symbol="holdfast.kv.v1.KvService.Nothing"),
        pb.ServerReflectionRequest(file_by_filename="nothing.proto"),
        pb.ServerReflectionRequest(all_extension_numbers_of_type="nothing.Nothing"),
        pb.ServerReflectionRequest(
            file_containing_extension=pb.ExtensionRequest(containing_type="a.B", extension_number=1)
        ),
    )
    assert [answer.error_response.error_code for answer in answers] == [5] * 6, answers
    (empty,) = ask(pb.ServerReflectionRequest())
    assert empty.error_response.error_code == 3, empty


globals()[CASE]()
