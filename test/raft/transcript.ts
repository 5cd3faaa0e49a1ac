/**
 * Plays scenario files against a group of cores and says what happens, line by line. The
 * format is described in node/docs/testing.md.
 */
import { isJoint, type Configuration, type ConfigurationChange } from '../../node/raft/core/configuration.ts';
import { ENTRY_VERSION, EntryKind, type Entry } from '../../node/raft/core/entry.ts';
import type { InstallSnapshot, Message } from '../../node/raft/core/messages.ts';
import type { Ready, ReadState, Write } from '../../node/raft/core/ready.ts';
import type { Accepted, Refused } from '../../node/raft/core/proposal.ts';
import type { RaftSettings } from '../../node/raft/core/settings.ts';
import { decodeConfiguration } from '../../node/raft/core/configuration.ts';
import {
  CoreHost,
  emptyDisk,
  initialDisk,
  type CoreDisk,
  type HostEvents,
  type MachineState,
} from './core-host.ts';

interface Flight {
  readonly message: Message;
  readonly rows: MachineState | undefined;
}

const CLOCK_START_MS = 1000;
/** More steps than a scenario can need: whoever goes on longer never comes to rest. */
const MAX_STEPS = 2000;

/** A scenario file with what its commands print, in place of what it says they print. */
export function play(source: string): string {
  const transcript = new Transcript();
  const lines: string[] = [];
  for (const line of source.split('\n')) {
    if (line.startsWith('#') || line.trim() === '') lines.push(line);
    else if (line.startsWith('> ')) lines.push(line, ...transcript.run(line.slice(2)));
  }
  return lines.join('\n');
}

class Transcript implements HostEvents {
  readonly #disks = new Map<number, CoreDisk>();
  readonly #hosts = new Map<number, CoreHost>();
  readonly #slow = new Set<number>();
  readonly #held = new Set<number>();
  /** Replicas whose older entries are not at hand. */
  readonly #away = new Set<number>();
  readonly #cut = new Set<string>();
  #flights: Flight[] = [];
  #settings: Partial<RaftSettings> = {};
  #clockMs = CLOCK_START_MS;
  #output: string[] = [];

  readonly #commands: Record<string, (words: string[]) => void> = {
    group: (words) => this.#group(words),
    join: ([id]) => this.#add(Number(id), emptyDisk()),
    tick: ([id, count]) => this.#tick(id!, Number(count ?? 1)),
    campaign: ([id]) => this.#with(id!, ({ core }) => core.campaign()),
    propose: ([id, text, count]) => this.#propose(id!, text!, Number(count ?? 1)),
    change: ([id, ...changes]) =>
      this.#with(id!, ({ core }) => this.#sayRefusal(core.changeConfiguration(changes.map(parseChange)))),
    read: ([id, context]) =>
      this.#with(id!, ({ core }) => {
        if (!core.readIndex(Number(context))) this.#say(`${id} refuses read ${context}`);
      }),
    transfer: ([id, to]) => this.#with(id!, ({ core }) => this.#sayRefusal(core.transferLeader(Number(to)))),
    'hand-over': ([id]) =>
      this.#with(id!, ({ core }) => core.handOver() || this.#say('nobody to hand over to')),
    unreachable: ([id, to]) => this.#with(id!, ({ core }) => core.reportUnreachable(Number(to))),
    snapshot: ([id, to, fate]) =>
      this.#with(id!, ({ core }) => core.reportSnapshot(Number(to), fate === 'delivered')),
    compact: ([id, index]) => this.#with(id!, (host) => (host.flush(), host.compact(Number(index)))),
    slow: (ids) => ids.forEach((id) => this.#slow.add(Number(id))),
    fast: (ids) => ids.forEach((id) => (this.#slow.delete(Number(id)), this.#turn(Number(id)))),
    away: (ids) => ids.forEach((id) => this.#away.add(Number(id))),
    fetched: (ids) => ids.forEach((id) => (this.#away.delete(Number(id)), this.#turn(Number(id)))),
    hold: (ids) => ids.forEach((id) => this.#held.add(Number(id))),
    turn: (ids) => ids.forEach((id) => (this.#held.delete(Number(id)), this.#turn(Number(id)))),
    persist: ([id, count]) =>
      this.#with(id!, (host) => host.persist(count === undefined ? undefined : Number(count))),
    cut: (links) => links.forEach((link) => this.#cut.add(link)),
    isolate: ([id]) => this.#isolate(id!),
    heal: () => this.#cut.clear(),
    deliver: (links) => this.#deliverAll(links),
    drop: (links) => (this.#flights = this.#flights.filter((flight) => !isOn(flight, links))),
    repeat: (links) => this.#flights.push(...this.#flights.filter((flight) => isOn(flight, links))),
    settle: (ids) => this.#settle(ids.map(Number)),
    quietly: (words) => this.#quietly(words),
    crash: ([id, reached]) => this.#crash(Number(id), Number(reached ?? 0)),
    restart: ([id]) => (this.#start(Number(id)), this.#turn(Number(id))),
    status: (ids) => this.#status(ids),
    log: (ids) => ids.forEach((id) => this.#log(this.#host(id))),
    flights: () => this.#flights.forEach(({ message }) => this.#say(describeMessage(message))),
  };

  run(line: string): string[] {
    this.#output = [];
    const [command, ...words] = line.trim().split(/\s+/);
    const play = this.#commands[command!];
    if (play === undefined) throw new Error(`unknown command: ${line}`);
    play(words);
    return this.#output;
  }

  onSend(_host: CoreHost, message: Message): void {
    this.#say(describeMessage(message));
    this.#flights.push({ message, rows: undefined });
  }

  onReady(host: CoreHost, { roleChange, write }: Ready): void {
    const { id } = host;
    if (roleChange !== undefined) {
      const { role, term, leader } = roleChange;
      this.#say(`${id} is ${role} in term ${term}${leader === 0 ? '' : `, leader ${leader}`}`);
    }
    if (write !== undefined) this.#say(`${id} writes ${describeWrite(write)}`);
  }

  onPersisted(host: CoreHost, { sequence }: Write): void {
    if (this.#slow.has(host.id)) this.#say(`${host.id} has written #${sequence}`);
  }

  onApplied(host: CoreHost, entry: Entry): void {
    this.#say(`${host.id} applies ${describeEntry(entry)}`);
  }

  onRead(host: CoreHost, { context, index }: ReadState): void {
    this.#say(`${host.id} serves read ${context} at ${index}`);
  }

  onReadDropped(host: CoreHost, context: number): void {
    this.#say(`${host.id} drops read ${context}`);
  }

  onSnapshot(_host: CoreHost, message: InstallSnapshot, rows: MachineState): void {
    this.#say(describeMessage(message));
    this.#flights.push({ message, rows });
  }

  #group(words: string[]): void {
    const settings = words.filter((word) => word.includes('='));
    this.#settings = Object.fromEntries(
      settings.map((word) => [word.split('=')[0]!, Number(word.split('=')[1])] as const),
    );
    const learners = words.filter((word) => word.startsWith('~')).map((word) => Number(word.slice(1)));
    const voters = words.filter((word) => /^\d+$/.test(word)).map(Number);
    for (const id of [...voters, ...learners]) this.#add(id, initialDisk(voters, learners));
  }

  #add(id: number, disk: CoreDisk): void {
    this.#disks.set(id, disk);
    this.#start(id);
  }

  #start(id: number): void {
    const disk = this.#disks.get(id)!;
    const options = {
      id,
      disk,
      random: () => id / 10,
      settings: this.#settings,
      events: this,
      isAtHand: () => !this.#away.has(id),
    };
    this.#hosts.set(id, new CoreHost(options));
  }

  #host(id: string | number): CoreHost {
    const host = this.#hosts.get(Number(id));
    if (host === undefined) throw new Error(`no replica ${id}`);
    return host;
  }

  #with(id: string, input: (host: CoreHost) => unknown): void {
    input(this.#host(id));
    this.#turn(Number(id));
  }

  /** Does what the core has to be done, except what the scenario holds back. */
  #turn(id: number): void {
    const host = this.#host(id);
    for (let step = 0; step < MAX_STEPS && !this.#held.has(id); step++) {
      const isBusy = host.turn();
      const hasWork = (!this.#slow.has(id) && host.writes.length > 0) || host.unapplied.length > 0;
      if (!this.#slow.has(id)) host.persist();
      host.apply();
      if (!isBusy && !hasWork) return;
    }
  }

  #tick(ids: string, count: number): void {
    for (let done = 0; done < count; done++) {
      this.#clockMs += 50;
      for (const id of ids.split(',')) this.#with(id, ({ core }) => core.tick(this.#clockMs));
    }
  }

  #propose(id: string, text: string, count: number): void {
    const entry = { kind: EntryKind.commands, version: ENTRY_VERSION, payload: Buffer.from(text) };
    const entries = Array.from({ length: count }, () => entry);
    this.#with(id, ({ core }) => this.#sayRefusal(core.propose(entries, this.#clockMs)));
  }

  #isolate(id: string): void {
    for (const other of this.#hosts.keys()) this.#cut.add(`${id}>${other}`).add(`${other}>${id}`);
  }

  #deliverAll(links: string[]): void {
    const due = this.#flights.filter((flight) => isOn(flight, links));
    this.#flights = this.#flights.filter((flight) => !due.includes(flight));
    for (const flight of due) this.#deliver(flight);
  }

  #deliver({ message, rows }: Flight): void {
    const host = this.#hosts.get(message.to);
    if (host === undefined || this.#cut.has(`${message.from}>${message.to}`)) return;
    if (message.type === 'snapshot') host.receiveSnapshot(message, rows!);
    else host.core.step(message);
    this.#turn(host.id);
  }

  /** Delivers until nothing is on its way to these replicas; to all when none is named. Then they tell what is committed. */
  #settle(ids: readonly number[]): void {
    for (let step = 0; ; step++) {
      const position = this.#flights.findIndex(({ message }) => ids.length === 0 || ids.includes(message.to));
      if (position < 0 && !this.#tell(ids)) return;
      if (step > MAX_STEPS) throw new Error('the group does not come to rest');
      if (position >= 0) this.#deliver(this.#flights.splice(position, 1)[0]!);
    }
  }

  /** Returns whether somebody had something to tell. */
  #tell(ids: readonly number[]): boolean {
    const tellers = [...this.#hosts.values()].filter(
      ({ id, core }) => core.isCommitUntold && (ids.length === 0 || ids.includes(id)),
    );
    for (const { id, core } of tellers) {
      core.tellCommitted();
      this.#turn(id);
    }
    return tellers.length > 0;
  }

  #quietly(words: string[]): void {
    const kept = this.#output;
    this.run(words.join(' '));
    this.#output = kept;
  }

  #crash(id: number, reached: number): void {
    this.#host(id).crash(reached);
    this.#hosts.delete(id);
  }

  #status(ids: string[]): void {
    for (const host of ids.length === 0 ? this.#hosts.values() : ids.map((id) => this.#host(id))) {
      const { id, role, term, vote, leader, lastIndex, lastTerm, committed, durable, configuration } =
        host.core.status;
      const place = `last ${lastIndex}/${lastTerm}, durable ${durable}, committed ${committed}`;
      this.#say(
        `${id} ${role} term ${term} vote ${vote} leader ${leader}: ${place}, ${describeMembers(configuration)}`,
      );
      for (const [follower, { state, match, next }] of host.core.status.followers) {
        this.#say(`  ${follower}: ${state}, match ${match}, next ${next}`);
      }
    }
  }

  #log({ id, disk }: CoreHost): void {
    const entries = disk.entries.map(describeEntry).join(', ');
    this.#say(`${id} after ${disk.base.index}/${disk.base.term}: ${entries}`);
  }

  #sayRefusal(result: Accepted | Refused | undefined): void {
    if (result?.refused === undefined) return;
    this.#say(`refused: ${result.refused}${result.detail === undefined ? '' : `, ${result.detail}`}`);
  }

  #say(line: string): void {
    this.#output.push(line);
  }
}

/** `1>2`: from 1 to 2; `2`: to 2. No link: all. */
function isOn({ message: { from, to, type } }: Flight, links: readonly string[]): boolean {
  if (links.length === 0) return true;
  return links.some(
    (link) => link === `${from}>${to}` || link === String(to) || link === `${from}>${to}:${type}`,
  );
}

function parseChange(word: string): ConfigurationChange {
  const type = ({ '+': 'add voter', '~': 'add learner', '-': 'remove' } as const)[word[0] as '+' | '~' | '-'];
  return { type, replica: Number(word.slice(1)) };
}

function describeMessage(message: Message): string {
  return `${message.from}→${message.to} ${message.type} term ${message.term}${describeFields(message)}`;
}

function describeFields(message: Message): string {
  switch (message.type) {
    case 'preVote':
      return `, last ${message.lastIndex}/${message.lastTerm}`;
    case 'vote':
      return `, last ${message.lastIndex}/${message.lastTerm}${message.isTransfer ? ', transfer' : ''}`;
    case 'preVoteResponse':
    case 'voteResponse':
      return message.granted ? ', granted' : ', refused';
    case 'append': {
      const entries =
        message.entries.length === 0 ? '' : `: ${message.entries.map(describeEntry).join(', ')}`;
      return `, after ${message.prevIndex}/${message.prevTerm}, committed ${message.committed}${entries}`;
    }
    case 'appendAccepted':
      return `, up to ${message.index}`;
    case 'appendRejected':
      return `, not after ${message.prevIndex}, hint ${message.hintIndex}/${message.hintTerm}`;
    case 'heartbeat':
      return `, committed ${message.committed}, round ${message.round}`;
    case 'heartbeatResponse':
      return `, round ${message.round}`;
    case 'snapshot':
      return `, at ${message.snapshot.index}/${message.snapshot.term}, ${describeMembers(message.snapshot.configuration)}`;
    case 'readIndexResponse':
      return `, at ${message.index}`;
    default:
      return '';
  }
}

function describeWrite({ sequence, hardState, snapshot, entries, messages }: Write): string {
  const parts = [`#${sequence}`];
  if (hardState !== undefined) parts.push(`term ${hardState.term} vote ${hardState.vote}`);
  if (snapshot !== undefined) parts.push(`snapshot at ${snapshot.index}/${snapshot.term}`);
  if (entries.length > 0) parts.push(entries.map(describeEntry).join(', '));
  if (messages.length > 0) parts.push(`then ${messages.length} to send`);
  return parts.join('; ');
}

function describeEntry({ index, term, kind, payload }: Entry): string {
  const place = `${index}/${term}`;
  if (kind === EntryKind.noOp) return `${place} no-op`;
  if (kind === EntryKind.configuration) return `${place} {${describeMembers(decodeConfiguration(payload))}}`;
  return `${place} "${Buffer.from(payload).toString()}"`;
}

function describeMembers(configuration: Configuration): string {
  const { voters, outgoing, learners } = configuration;
  const joint = isJoint(configuration) ? ` out of ${outgoing.join(' ')}` : '';
  return `voters ${voters.join(' ')}${joint}${learners.length > 0 ? ` learners ${learners.join(' ')}` : ''}`;
}
