/** `v3electionpb.Election`: elections made of keys, as etcd's server and its client libraries make them. */
import { create } from '@bufbuild/protobuf';
import {
  CampaignResponseSchema,
  Election,
  LeaderResponseSchema,
  ProclaimResponseSchema,
  ResignResponseSchema,
  type LeaderKey,
  type LeaderRequest,
  type LeaderResponse,
} from '@holdfast/proto/etcd/v3election';
import { keySpan } from '../../coordination/config-command.ts';
import type { ConfigEntry } from '../../coordination/coordination-events.ts';
import { binaryBytes, binaryString } from '../../storage/row-key.ts';
import { serve, type CallContext, type ServedService } from '../handler.ts';
import { prefixSpan } from '../key-selection.ts';
import { asEtcd, etcdError, unnamed } from './etcd-error.ts';
import type { HeaderOf } from './etcd-header.ts';
import { keyValue, oneKey } from './etcd-keys.ts';
import { turnsPrefix, type EtcdTurns, type Place } from './etcd-turns.ts';

export interface EtcdElectionOptions {
  readonly turns: EtcdTurns;
  readonly header: HeaderOf;
}

export function etcdElectionService({ turns, header }: EtcdElectionOptions): ServedService {
  const observation = new Observation(turns, header);
  return serve(Election, {
    campaign: (context, { name, lease, value }) =>
      asEtcd(async () => {
        const session = await turns.session(lease, context);
        const place = await turns.enter(name, session, value, context);
        const revision = await turns.awaitTurn(place, context);
        const key = binaryBytes(place.key);
        const leader = { name, key, rev: BigInt(place.revision), lease: session };
        return create(CampaignResponseSchema, { header: header(revision), leader });
      }),

    proclaim: (context, { leader, value }) =>
      asEtcd(async () => {
        const place = placeOf(leader);
        const session = await turns.session(leader!.lease, context);
        const revision = await turns.say(place, value, session, context);
        if (revision === undefined) throw unnamed('NOT_ELECTED', 'election: not leader');
        return create(ProclaimResponseSchema, { header: header(revision) });
      }),

    leader: (context, { name }) =>
      asEtcd(async () => {
        const { entry, revision } = await turns.first(turnsPrefix(name), context);
        if (entry === undefined) throw unnamed('NOT_ELECTED', 'election: no leader');
        return create(LeaderResponseSchema, { header: header(revision), kv: keyValue(entry) });
      }),

    resign: (context, { leader }) =>
      asEtcd(async () => {
        const revision = await turns.leave(placeOf(leader), context);
        return create(ResignResponseSchema, { header: header(revision) });
      }),

    observe: (context, request) => observation.run(request, context),
  });
}

/** Errors: "leader" field must be provided, key is not provided. */
function placeOf(leader: LeaderKey | undefined): Pick<Place, 'key' | 'revision'> {
  if (leader === undefined) throw unnamed('INVALID_FIELD', '"leader" field must be provided');
  return { key: oneKey(leader.key), revision: Math.max(0, Number(leader.rev)) };
}

/** Tells who leads, everything that a leader says, and who leads next. */
class Observation {
  readonly #turns: EtcdTurns;
  readonly #header: HeaderOf;

  constructor(turns: EtcdTurns, header: HeaderOf) {
    this.#turns = turns;
    this.#header = header;
  }

  async *run({ name }: LeaderRequest, context: CallContext): AsyncIterable<LeaderResponse> {
    try {
      for (;;) yield* this.#follow(turnsPrefix(name), context);
    } catch (error) {
      if (!context.signal.aborted) throw etcdError(error);
    }
  }

  /** One leader, to its end. */
  async *#follow(prefix: string, context: CallContext): AsyncIterable<LeaderResponse> {
    const { entry, revision } = await this.#turns.first(prefix, context);
    const leader = entry ?? (await this.#next(prefix, revision, context));
    if (leader === undefined) return;
    const from = entry === undefined ? leader.modRevision : revision;
    yield this.#told(leader, from);
    const watch = this.#turns.watch(keySpan(binaryString(leader.key)), from + 1, context.signal);
    try {
      for (;;) {
        const events = await watch.next();
        if (events.length === 0) return;
        for (const event of events) {
          if (event.isDelete) return;
          yield this.#told(event.entry, event.revision);
        }
      }
    } finally {
      watch.close();
    }
  }

  /** Whoever is the next to take part; undefined: look anew. */
  async #next(prefix: string, revision: number, context: CallContext): Promise<ConfigEntry | undefined> {
    const watch = this.#turns.watch(prefixSpan(prefix), revision + 1, context.signal);
    try {
      for (;;) {
        const events = await watch.next();
        if (events.length === 0) return undefined;
        const came = events.find(({ isDelete }) => !isDelete);
        if (came !== undefined) return came.entry;
      }
    } finally {
      watch.close();
    }
  }

  #told(entry: ConfigEntry, revision: number): LeaderResponse {
    return create(LeaderResponseSchema, { header: this.#header(revision), kv: keyValue(entry) });
  }
}
