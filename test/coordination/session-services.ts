/** The services of leases, locks and elections on a node, called as a transport would. */
import { create } from '@bufbuild/protobuf';
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  CampaignRequestSchema,
  DescribeRequestSchema as DescribeElectionSchema,
  ElectionService,
  ObserveRequestSchema,
  ProclaimRequestSchema,
  ResignRequestSchema,
} from '@holdfast/proto/election/v1/election';
import {
  DescribeRequestSchema as DescribeLeaseSchema,
  GrantRequestSchema,
  KeepAliveRequestSchema,
  LeaseService,
  ListRequestSchema as ListLeasesSchema,
  RevokeRequestSchema,
} from '@holdfast/proto/lease/v1/lease';
import {
  AcquireRequestSchema,
  DescribeRequestSchema as DescribeLockSchema,
  ListRequestSchema as ListLocksSchema,
  LockService,
  ReleaseRequestSchema,
} from '@holdfast/proto/lock/v1/lock';
import type { Clock } from '../../client/clock.ts';
import { HoldfastError } from '../../client/error.ts';
import type { Engine } from '../../node/main/engine.ts';
import { electionService } from '../../node/services/election-service.ts';
import type { CallContext, Handlers } from '../../node/services/handler.ts';
import { leaseService } from '../../node/services/lease-service.ts';
import { lockService } from '../../node/services/lock-service.ts';
import { openAccess } from '../../node/services/access.ts';

type Init<S extends Parameters<typeof create>[0]> = MessageInitShape<S>;

export class SessionServices {
  readonly stopping = new AbortController();
  readonly leases: Handlers<typeof LeaseService>;
  readonly locks: Handlers<typeof LockService>;
  readonly elections: Handlers<typeof ElectionService>;
  /** Of the calls that follow. */
  terms: Partial<CallContext> = {};
  timeoutMs = 20_000;
  readonly #clock: Clock;

  constructor(engine: Engine, clock: Clock) {
    const stopping = this.stopping.signal;
    this.#clock = clock;
    this.leases = leaseService(engine).handlers as Handlers<typeof LeaseService>;
    this.locks = lockService({ ...engine, stopping }).handlers as Handlers<typeof LockService>;
    this.elections = electionService({ ...engine, clock, stopping }).handlers as Handlers<
      typeof ElectionService
    >;
  }

  context(): CallContext {
    return {
      deadlineMs: this.#clock.monotonicMs() + this.timeoutMs,
      isRouted: false,
      signal: new AbortController().signal,
      principal: 'test',
      access: openAccess(),
      grant: openAccess(),
      peer: () => '',
      requestId: '',
      traceparent: undefined,
      budget: {
        tryTake: () => true,
        give: () => undefined,
        refusal: () => new HoldfastError({ reason: 'OVERLOADED', message: 'full' }),
      },
      ...this.terms,
    };
  }

  grant = (init: Init<typeof GrantRequestSchema> = {}) =>
    this.leases.grant(this.context(), create(GrantRequestSchema, init));
  keep = async (...leases: bigint[]) => {
    const { leases: kept } = await this.leases.keepAlive(
      this.context(),
      create(KeepAliveRequestSchema, { leases }),
    );
    return kept.map(({ ttlMs }) => Number(ttlMs));
  };
  revoke = (init: Init<typeof RevokeRequestSchema>) =>
    this.leases.revoke(this.context(), create(RevokeRequestSchema, init));
  describeLease = (init: Init<typeof DescribeLeaseSchema>) =>
    this.leases.describe(this.context(), create(DescribeLeaseSchema, init));
  listLeases = (init: Init<typeof ListLeasesSchema> = {}) =>
    this.leases.list(this.context(), create(ListLeasesSchema, init));

  acquire = (init: Init<typeof AcquireRequestSchema>) =>
    this.locks.acquire(
      this.context(),
      create(AcquireRequestSchema, { requestId: Buffer.from('r'), lock: 'lock', ...init } as never),
    );
  release = (init: Init<typeof ReleaseRequestSchema>) =>
    this.locks.release(
      this.context(),
      create(ReleaseRequestSchema, { requestId: Buffer.from('r'), lock: 'lock', ...init } as never),
    );
  describeLock = (lock = 'lock') => this.locks.describe(this.context(), create(DescribeLockSchema, { lock }));
  listLocks = (init: Init<typeof ListLocksSchema> = {}) =>
    this.locks.list(this.context(), create(ListLocksSchema, init));

  campaign = (init: Init<typeof CampaignRequestSchema>) =>
    this.elections.campaign(
      this.context(),
      create(CampaignRequestSchema, { election: 'e', ...init } as never),
    );
  proclaim = (init: Init<typeof ProclaimRequestSchema>) =>
    this.elections.proclaim(
      this.context(),
      create(ProclaimRequestSchema, { election: 'e', ...init } as never),
    );
  resign = (init: Init<typeof ResignRequestSchema>) =>
    this.elections.resign(this.context(), create(ResignRequestSchema, { election: 'e', ...init } as never));
  describeElection = (election = 'e') =>
    this.elections.describe(this.context(), create(DescribeElectionSchema, { election }));
  observe = (election = 'e') =>
    this.elections
      .observe(this.context(), create(ObserveRequestSchema, { election }))
      [Symbol.asyncIterator]();
}
