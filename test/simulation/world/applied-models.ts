/** Has models carry out what group 0 applies, and the checkers told of it. */
import type { ConfigTransact } from '../../../node/coordination/config-command.ts';
import { CoordinationKind } from '../../../node/coordination/coordination-command.ts';
import type { CoordinationMachine } from '../../../node/coordination/coordination-machine.ts';
import { isRefusal } from '../../../node/coordination/refusal.ts';
import { readSequenceOutcome, type SequenceCommand } from '../../../node/coordination/sequence-part.ts';
import { SessionCommandKind, type SessionCommand } from '../../../node/coordination/session-command.ts';
import { readSessionOutcome, type SessionOutcome } from '../../../node/coordination/session-outcome.ts';
import { ByteReader } from '../../../node/storage/byte-codec.ts';
import type { ConfigChecker } from '../checkers/config-checker.ts';
import type { NumberChecker } from '../checkers/number-checker.ts';
import type { SessionModel } from '../checkers/session-model.ts';
import type { AppliedCommand, AppliedLogReader } from './applied-log.ts';

const SESSION_KINDS: ReadonlySet<number> = new Set(Object.values(SessionCommandKind));

export class AppliedModels implements AppliedLogReader {
  readonly #sessions: SessionModel;
  readonly #config: ConfigChecker;

  readonly #numbers: NumberChecker;

  constructor(sessions: SessionModel, config: ConfigChecker, numbers: NumberChecker) {
    this.#numbers = numbers;
    this.#sessions = sessions;
    this.#config = config;
  }

  onApplied(commands: readonly AppliedCommand[], machine: CoordinationMachine): void {
    for (const command of commands) {
      if (SESSION_KINDS.has(command.kind)) this.#session(command, machine);
      else if (command.kind === CoordinationKind.configTransact) this.#transact(command, machine);
      else if (command.kind === CoordinationKind.configCompact && !isRefusal(command.outcome))
        this.#config.onCompacted(command.body as number);
      else if (command.kind === CoordinationKind.sequenceNext && !isRefusal(command.outcome))
        this.#numbers.onNext(command.body as SequenceCommand, readSequenceOutcome(command.outcome));
    }
    const { state } = machine.sessions;
    this.#sessions.compare({
      revision: machine.revision,
      queue: (kind, name) => state[kind].get(name),
      hasLease: (lease) => state.leases.get(lease) !== undefined,
    });
    this.#config.onEntry(machine.revision);
  }

  #session({ body, outcome }: AppliedCommand, machine: CoordinationMachine): void {
    const command = body as SessionCommand;
    if (isRefusal(outcome)) return this.#sessions.refused(command, outcome.refused);
    const result = readSessionOutcome(new ByteReader(outcome));
    this.#sessions.apply(command, result);
    this.#leases(command, result, machine);
  }

  /** What keys hang on. */
  #leases(command: SessionCommand, outcome: SessionOutcome, machine: CoordinationMachine): void {
    const ended = (lease: bigint, revision: number | undefined) =>
      this.#config.onLeaseEnded(lease, revision, machine.config.history, machine.revision);
    if (outcome.case === 'lease') this.#config.onLease(outcome.lease);
    else if (command.kind === SessionCommandKind.revoke && outcome.case === 'done')
      ended(command.lease, outcome.revision);
    else if (command.kind === SessionCommandKind.expire && outcome.case === 'counted' && outcome.isCurrent)
      for (const lease of command.leases) ended(lease, undefined);
  }

  #transact({ body, outcome }: AppliedCommand, machine: CoordinationMachine): void {
    const transact = body as ConfigTransact;
    if (isRefusal(outcome)) this.#config.onRefused(transact, outcome.refused);
    else this.#config.onTransact(transact, outcome, machine.config.history);
  }
}
