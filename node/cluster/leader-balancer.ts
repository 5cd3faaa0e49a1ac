/** Moves leaderships to nodes that have fewer, one at a time. */
import type { Clock, Timer } from '@holdfast/client/clock';
import type { Random } from '@holdfast/client/random';
import type { GroupHost } from '../raft/group-host.ts';
import { chooseHandover } from './leader-balance.ts';

/** Between two handovers of a node. Less: quicker after a restart, and more calls at a time that meet one. */
const EVERY_MS = 500;
/** Entries that a replica may lack to be handed a group: a moment's worth. */
const MOST_LACKING = 2_048;

export class LeaderBalancer {
  readonly #host: GroupHost;
  readonly #clock: Clock;
  readonly #random: Random;
  #timer: Timer | undefined;
  #moved = 0;

  constructor(host: GroupHost, clock: Clock, random: Random) {
    this.#random = random;
    this.#host = host;
    this.#clock = clock;
    this.#schedule();
  }

  /** Leaderships that this node has begun to hand over for balance. */
  get moved(): number {
    return this.#moved;
  }

  stop(): void {
    this.#timer?.cancel();
  }

  /** At odd moments: several that hand over at once to the same node would overdo it. */
  #schedule(): void {
    const delayMs = EVERY_MS * (0.5 + this.#random.float());
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#balance();
      this.#schedule();
    });
  }

  #balance(): void {
    const host = this.#host;
    if (host.failure !== undefined) return;
    const led = host.replicas.filter(({ isLeader }) => isLeader);
    const handover = chooseHandover(
      host.self,
      led.map(({ group, core }) => ({ group, voters: core.configuration.voters })),
      (member) => host.leaderships.ledBy(member),
      (group, voter) => host.leaderships.mayTakeOver(group, voter, MOST_LACKING),
    );
    if (handover === undefined) return;
    if (host.transferLeader(handover.group, handover.to) === undefined) this.#moved++;
  }
}
