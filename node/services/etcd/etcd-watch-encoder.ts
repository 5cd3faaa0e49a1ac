/**
 * Encodes the changes of a WatchResponse by hand: a change is encoded once for all who are told
 * of it, and a header once for all who are told of its revision. Numbers are tags of rpc.proto
 * (field number * 8 + wire type); a test compares with the generated code.
 */
import { create, toBinary } from '@bufbuild/protobuf';
import { WireWriter, fieldSize } from '@holdfast/client/wire-writer';
import { EventSchema, Event_EventType as EventType } from '@holdfast/proto/etcd/kv';
import { ResponseHeaderSchema, WatchResponseSchema } from '@holdfast/proto/etcd/rpc';
import type { ConfigEntry, ConfigEvent } from '../../coordination/coordination-events.ts';
import type { HeaderOf } from './etcd-header.ts';
import { keyValue } from './etcd-keys.ts';

const NO_BYTES = new Uint8Array(0);

/** Changes for one watch. */
export interface ToldEvents {
  /** The watch's number as a field, encoded. */
  readonly watch: Uint8Array;
  /** Each a field of WatchResponse. */
  readonly fields: Uint8Array[];
  /** Of the fields. */
  bytes: number;
  /** Of the last one. */
  revision: number;
  /** More of the same revision follows. */
  readonly fragment: boolean;
}

export class EtcdWatchEncoder {
  readonly #headerOf: HeaderOf;
  #header: { readonly revision: number; readonly field: Uint8Array } | undefined;
  readonly #plain = new WeakMap<ConfigEvent, Uint8Array>();
  readonly #withPrevious = new WeakMap<ConfigEvent, Uint8Array>();

  constructor(headerOf: HeaderOf) {
    this.#headerOf = headerOf;
  }

  /** A change as a field of WatchResponse; `previous`: what was there before, to be told as well. */
  field(event: ConfigEvent, previous?: (event: ConfigEvent) => ConfigEntry | undefined): Uint8Array {
    const known = previous === undefined ? this.#plain : this.#withPrevious;
    let field = known.get(event);
    if (field === undefined) known.set(event, (field = eventField(event, previous?.(event))));
    return field;
  }

  /** A WatchResponse. */
  events({ watch, fields, bytes, revision, fragment }: ToldEvents): Uint8Array {
    const header = this.#headerField(revision);
    const writer = new WireWriter(header.byteLength + watch.byteLength + bytes + 2);
    writer.raw(header);
    writer.raw(watch);
    if (fragment) {
      writer.byte(0x38);
      writer.byte(1);
    }
    for (const field of fields) writer.raw(field);
    return writer.finish();
  }

  #headerField(revision: number): Uint8Array {
    if (this.#header?.revision !== revision) {
      const header = toBinary(ResponseHeaderSchema, this.#headerOf(revision));
      this.#header = { revision, field: bytesField(0x0a, header) };
    }
    return this.#header.field;
  }
}

/** The number of a watch as a field of WatchResponse. */
export function watchField(watchId: bigint): Uint8Array {
  return toBinary(WatchResponseSchema, create(WatchResponseSchema, { watchId }));
}

function eventField({ isDelete, entry }: ConfigEvent, previous: ConfigEntry | undefined): Uint8Array {
  const told = isDelete ? { ...entry, value: NO_BYTES, createRevision: 0, version: 0, lease: 0n } : entry;
  const event = create(EventSchema, {
    type: isDelete ? EventType.DELETE : EventType.PUT,
    kv: keyValue(told),
    ...(previous && { prevKv: keyValue(previous) }),
  });
  return bytesField(0x5a, toBinary(EventSchema, event));
}

function bytesField(tag: number, bytes: Uint8Array): Uint8Array {
  const writer = new WireWriter(fieldSize(bytes.byteLength));
  writer.field(tag, bytes);
  return writer.finish();
}
