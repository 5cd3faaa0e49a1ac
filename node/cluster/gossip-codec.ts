/**
 * Gossip as bytes: `holdfast.gossip.v1.GossipMessage`. What is not as the format wants it is no
 * message: RangeError, and nothing of it is taken in.
 */
import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import {
  GossipMessageSchema,
  InstanceSchema,
  NodeRecordSchema,
  NodeState,
  type GossipMessage as WireMessage,
  type Instance as WireInstance,
  type NodeRecord as WireRecord,
} from '@holdfast/proto/gossip/v1/gossip';
import type { GossipBody, GossipMessage } from './gossip/messages.ts';
import { MAX_INCARNATION, type Instance, type LifeState, type NodeRecord } from './gossip/node-record.ts';

const FORMAT_VERSION = 1;
const CLUSTER_ID_BYTES = 16;
const MAX_NAME_BYTES = 64;
const MAX_ENDPOINT_BYTES = 300;
const MAX_TEXT_BYTES = 64;
const MAX_LOAD = 100;

const STATES: Readonly<Record<LifeState, NodeState>> = {
  alive: NodeState.ALIVE,
  suspect: NodeState.SUSPECT,
  dead: NodeState.DEAD,
  left: NodeState.LEFT,
};
const LIFE_STATES = new Map(Object.entries(STATES).map(([life, state]) => [state, life as LifeState]));

export function encodeGossip({ clusterId, from, news, body }: GossipMessage): Uint8Array {
  const message = create(GossipMessageSchema, {
    formatVersion: FORMAT_VERSION,
    clusterId: Buffer.from(clusterId, 'hex'),
    from: wireInstance(from),
    news: news.map(wireRecord),
    body: wireBody(body),
  });
  return toBinary(GossipMessageSchema, message);
}

/** Throws a RangeError when the bytes are no message of a format that this program knows. */
export function decodeGossip(bytes: Uint8Array): GossipMessage {
  const message = readable(bytes);
  if (message.formatVersion !== FORMAT_VERSION)
    throw new RangeError(`format ${message.formatVersion} of gossip is not known`);
  if (message.clusterId.length !== CLUSTER_ID_BYTES) throw new RangeError('a cluster id has 16 bytes');
  return {
    clusterId: Buffer.from(message.clusterId).toString('hex'),
    from: instanceOf(message.from),
    news: message.news.map(recordOf),
    body: bodyOf(message.body),
  };
}

function readable(bytes: Uint8Array): WireMessage {
  try {
    return fromBinary(GossipMessageSchema, bytes);
  } catch (error) {
    throw new RangeError('not a message of gossip', { cause: error });
  }
}

function wireBody(body: GossipBody): NonNullable<MessageInitShape<typeof GossipMessageSchema>['body']> {
  switch (body.type) {
    case 'ping':
      return { case: 'ping', value: { number: body.number, target: body.target } };
    case 'ack':
      return { case: 'ack', value: { number: body.number } };
    case 'pingRequest':
      return { case: 'pingRequest', value: { number: body.number, target: body.target } };
    case 'nack':
      return { case: 'nack', value: { number: body.number } };
    case 'sync':
      return {
        case: 'sync',
        value: { nodes: body.nodes.map(wireRecord), wantsReply: body.wantsReply },
      };
    case 'notice':
      return { case: 'notice', value: {} };
    case 'refusal':
      return { case: 'refusal', value: { newer: wireInstance(body.newer) } };
  }
}

function bodyOf(body: WireMessage['body']): GossipBody {
  switch (body.case) {
    case 'ping':
    case 'pingRequest':
      return { type: body.case, number: body.value.number, target: nameOf(body.value.target) };
    case 'ack':
    case 'nack':
      return { type: body.case, number: body.value.number };
    case 'sync':
      return { type: 'sync', nodes: body.value.nodes.map(recordOf), wantsReply: body.value.wantsReply };
    case 'notice':
      return { type: 'notice' };
    case 'refusal':
      return { type: 'refusal', newer: instanceOf(body.value.newer) };
    default:
      throw new RangeError('a message of gossip says or asks something');
  }
}

function wireInstance({ member, start }: Instance): MessageInitShape<typeof InstanceSchema> {
  return { member, start: BigInt(start) };
}

function instanceOf(instance: WireInstance | undefined): Instance {
  if (instance === undefined) throw new RangeError('a run is missing');
  return { member: instance.member, start: counted(instance.start, MAX_INCARNATION) };
}

function wireRecord({
  member,
  start,
  incarnation,
  state,
  ...told
}: NodeRecord): MessageInitShape<typeof NodeRecordSchema> {
  return {
    ...told,
    instance: wireInstance({ member, start }),
    incarnation: BigInt(incarnation),
    state: STATES[state],
  };
}

function recordOf(record: WireRecord): NodeRecord {
  const state = LIFE_STATES.get(record.state);
  if (state === undefined) throw new RangeError(`state ${record.state} of a node is not known`);
  return {
    ...instanceOf(record.instance),
    name: nameOf(record.name),
    incarnation: counted(record.incarnation, MAX_INCARNATION - 1),
    state,
    accuser: bounded(record.accuser, MAX_NAME_BYTES),
    zone: bounded(record.zone, MAX_TEXT_BYTES),
    datacentre: bounded(record.datacentre, MAX_TEXT_BYTES),
    grpc: bounded(record.grpc, MAX_ENDPOINT_BYTES),
    http: bounded(record.http, MAX_ENDPOINT_BYTES),
    version: bounded(record.version, MAX_TEXT_BYTES),
    load: counted(BigInt(record.load), MAX_LOAD),
  };
}

function nameOf(text: string): string {
  if (text === '') throw new RangeError('the name of a node is missing');
  return bounded(text, MAX_NAME_BYTES);
}

function bounded(text: string, maxBytes: number): string {
  if (Buffer.byteLength(text) > maxBytes) throw new RangeError(`a text is longer than ${maxBytes} bytes`);
  return text;
}

function counted(value: bigint, most: number): number {
  if (value > BigInt(most)) throw new RangeError(`${value} is more than ${most}`);
  return Number(value);
}
