/**
 * Server reflection, for grpcurl, grpc_cli and every client that has no proto files.
 * Descriptors are handed out as the compiler made them, byte for byte: a library that
 * rebuilds them loses `optional`, map entries or the names of types on the way.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { create, createFileRegistry, fromBinary, toBinary, type FileRegistry } from '@bufbuild/protobuf';
import {
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
  type FileDescriptorProto,
} from '@bufbuild/protobuf/wkt';
import type * as grpc from '@grpc/grpc-js';
import { StatusCode } from '@holdfast/client/reasons';
import {
  ServerReflection,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from '@holdfast/proto/grpc/reflection/v1/reflection';
import { ServerReflection as ServerReflectionAlpha } from '@holdfast/proto/grpc/reflection/v1alpha/reflection';
import { serve, type MessageStream } from '../services/handler.ts';
import type { CallEdge } from './call-edge.ts';
import { addService } from './grpc-server.ts';

type Answer = ServerReflectionResponse['messageResponse'];

/** Adds reflection of these services, under its present and its earlier name. */
export function addReflection(
  server: grpc.Server,
  edge: CallEdge,
  services: readonly string[],
  stopping: AbortSignal,
): void {
  const names = [...services, ServerReflection.typeName, ServerReflectionAlpha.typeName];
  const contracts = new ReflectedContracts(readDescriptors(), names);
  const serverReflectionInfo = (_: unknown, stream: MessageStream) => answer(contracts, stream, stopping);
  addService(server, edge, serve(ServerReflection, { serverReflectionInfo }));
  addService(server, edge, serve(ServerReflectionAlpha, { serverReflectionInfo }));
}

function readDescriptors(): Uint8Array {
  return readFileSync(fileURLToPath(import.meta.resolve('@holdfast/proto/descriptors')));
}

function answer(contracts: ReflectedContracts, stream: MessageStream, stopping: AbortSignal): void {
  const end = () => stream.end();
  // Tools keep the stream open for as long as they live; a stopping node does not wait for them.
  stopping.addEventListener('abort', end, { once: true });
  stream.onClose(() => stopping.removeEventListener('abort', end));
  stream.onMessage((bytes) => {
    // Both versions of the protocol look alike on the wire.
    const response = contracts.answer(fromBinary(ServerReflectionRequestSchema, bytes));
    if (!stream.send(toBinary(ServerReflectionResponseSchema, response))) stream.pause();
  });
  stream.onDrain(() => stream.resume());
  stream.onEnd(end);
}

/** Answers questions about a descriptor set. */
export class ReflectedContracts {
  readonly #files = new Map<string, FileDescriptorProto>();
  readonly #registry: FileRegistry;
  readonly #services: readonly string[];

  constructor(descriptorSet: Uint8Array, services: readonly string[]) {
    const set = fromBinary(FileDescriptorSetSchema, descriptorSet, { readUnknownFields: false });
    for (const file of set.file) this.#files.set(file.name, file);
    this.#registry = createFileRegistry(set);
    this.#services = services;
  }

  answer(request: ServerReflectionRequest): ServerReflectionResponse {
    const messageResponse = this.#answer(request.messageRequest);
    return create(ServerReflectionResponseSchema, {
      validHost: request.host,
      originalRequest: request,
      messageResponse,
    });
  }

  #answer(request: ServerReflectionRequest['messageRequest']): Answer {
    switch (request.case) {
      case 'listServices':
        return listed(this.#services);
      case 'fileByFilename':
        return this.#fileAnswer(this.#files.get(request.value), `file ${request.value}`);
      case 'fileContainingSymbol':
        return this.#fileAnswer(this.#declaring(request.value), `symbol ${request.value}`);
      case 'fileContainingExtension':
        return failure(StatusCode.NOT_FOUND, 'there are no extensions');
      case 'allExtensionNumbersOfType':
        return this.#extensionNumbers(request.value);
      case undefined:
        return failure(StatusCode.INVALID_ARGUMENT, 'the request does not say what is asked for');
    }
  }

  #fileAnswer(file: FileDescriptorProto | undefined, what: string): Answer {
    if (file === undefined) return failure(StatusCode.NOT_FOUND, `there is no ${what.slice(0, 200)}`);
    const files = new Set<FileDescriptorProto>();
    this.#addWithImports(file, files);
    const fileDescriptorProto = [...files].map((one) => toBinary(FileDescriptorProtoSchema, one));
    const value = { $typeName: 'grpc.reflection.v1.FileDescriptorResponse' as const, fileDescriptorProto };
    return { case: 'fileDescriptorResponse', value };
  }

  #addWithImports(file: FileDescriptorProto, files: Set<FileDescriptorProto>): void {
    if (files.has(file)) return;
    files.add(file);
    for (const name of file.dependency) this.#addWithImports(this.#files.get(name)!, files);
  }

  /** The file that declares a type or service, or one of its fields, values or methods. */
  #declaring(symbol: string): FileDescriptorProto | undefined {
    const name = symbol.replace(/^\./, '');
    const type = this.#registry.get(name);
    if (type !== undefined) return type.file.proto;
    const dot = name.lastIndexOf('.');
    const parent = this.#registry.get(name.slice(0, Math.max(0, dot)));
    const member = name.slice(dot + 1);
    return parent !== undefined && memberNames(parent).includes(member) ? parent.file.proto : undefined;
  }

  #extensionNumbers(type: string): Answer {
    if (this.#registry.getMessage(type) === undefined)
      return failure(StatusCode.NOT_FOUND, `there is no message ${type.slice(0, 200)}`);
    const $typeName = 'grpc.reflection.v1.ExtensionNumberResponse' as const;
    return {
      case: 'allExtensionNumbersResponse',
      value: { $typeName, baseTypeName: type, extensionNumber: [] },
    };
  }
}

function memberNames(type: NonNullable<ReturnType<FileRegistry['get']>>): string[] {
  switch (type.kind) {
    case 'message':
      return type.members.map(({ name }) => name);
    case 'enum':
      return type.values.map(({ name }) => name);
    case 'service':
      return type.methods.map(({ name }) => name);
    case 'extension':
      return [];
  }
}

function listed(services: readonly string[]): Answer {
  const service = services.map((name) => ({
    $typeName: 'grpc.reflection.v1.ServiceResponse' as const,
    name,
  }));
  return {
    case: 'listServicesResponse',
    value: { $typeName: 'grpc.reflection.v1.ListServiceResponse', service },
  };
}

function failure(errorCode: number, errorMessage: string): Answer {
  return {
    case: 'errorResponse',
    value: { $typeName: 'grpc.reflection.v1.ErrorResponse', errorCode, errorMessage },
  };
}
