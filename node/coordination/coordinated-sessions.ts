/** Leases, locks and elections over group 0 of this node. */
import type { Clock } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import { ByteReader } from '../storage/byte-codec.ts';
import { binaryBytes } from '../storage/row-key.ts';
import { encodeCommand } from './coordination-command.ts';
import type { Coordination } from './coordination.ts';
import { writeSessionCommand } from './session-command.ts';
import type { SessionGroup } from './session-group.ts';
import { readSessionOutcome } from './session-outcome.ts';
import { Sessions } from './sessions.ts';

/** Begins before anything is applied, so that nothing is missed. */
export function coordinatedSessions(
  coordination: Coordination,
  clock: Clock,
  random: Random,
  leaseCheckpointMs: number,
): Sessions {
  const sessions = new Sessions({ group: groupOf(coordination), clock, random, leaseCheckpointMs });
  coordination.observe(sessions);
  return sessions;
}

function groupOf(coordination: Coordination): SessionGroup {
  return {
    get state() {
      return coordination.machine.sessions.state;
    },
    get revision() {
      return coordination.revision;
    },
    keysOf: (lease, limit) => coordination.machine.config.leases.keysOf(lease, limit).map(binaryBytes),
    leadingTerm: () => coordination.leadingTerm,
    unledError: () => coordination.unledError,
    propose: (command, { deadlineMs, isRouted, grows, grant, identity }) =>
      coordination.propose(
        encodeCommand(command.kind, identity, (writer) => writeSessionCommand(writer, command)),
        {
          deadlineMs,
          isRouted,
          grows,
          grant,
          decode: (outcome) => readSessionOutcome(new ByteReader(outcome)),
        },
      ),
    awaitRead: (deadlineMs) => coordination.awaitRead({ deadlineMs, isRouted: false }),
  };
}
