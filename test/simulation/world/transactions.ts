/**
 * Transactions over two keys of one partition. Two keys, the pair, are written by nothing
 * else, always together and with one value: whoever reads both at once has to see that. The
 * other keys go into the history one by one, as operations that took place meanwhile.
 */
import { CheckFailure } from '../../raft/check-failure.ts';
import type { TransactionResult } from '../../../client/transaction.ts';
import type { Caller } from './caller.ts';
import { PAIR } from './key-choice.ts';
import { bytesOf, labelFrom } from './values.ts';

export function callTransaction(caller: Caller): Promise<void> {
  const keyspace = caller.keys.undivided(caller.random);
  const chance = caller.random.float();
  if (chance < 0.35) return writePair(caller, keyspace);
  if (chance < 0.7) return readPair(caller, keyspace);
  return conditional(caller, keyspace);
}

async function writePair(caller: Caller, keyspace: string): Promise<void> {
  const value = caller.newLabel();
  const options = caller.hurry();
  const calls = PAIR.map((key) => caller.begin(keyspace, key, { kind: 'put', value }, options.timeout));
  try {
    const put = bytesOf(value);
    const then = PAIR.map((key) => ({ put: key, value: put }));
    const { results } = await caller.client.keyspace(keyspace).transact({ then }, options);
    for (const [position, call] of calls.entries()) call.applied({ version: results[position]!.version });
  } catch (error) {
    for (const call of calls) call.failed(error);
  }
}

async function readPair(caller: Caller, keyspace: string): Promise<void> {
  const options = caller.hurry();
  const calls = PAIR.map((key) => caller.begin(keyspace, key, { kind: 'get' }, options.timeout));
  let results: TransactionResult['results'];
  try {
    const then = PAIR.map((key) => ({ get: key }));
    ({ results } = await caller.client.keyspace(keyspace).transact({ then }, options));
  } catch (error) {
    for (const call of calls) call.failed(error);
    return;
  }
  const found = results.map(
    ({ entry }) => entry && { value: labelFrom(entry.bytes), version: entry.version },
  );
  for (const [position, call] of calls.entries()) call.read(found[position]);
  if (found[0]?.value === found[1]?.value) return;
  throw new CheckFailure(
    'atomic',
    `${caller.name} read a pair that nobody wrote: ${found[0]?.value} and ${found[1]?.value}`,
  );
}

/** If one register is there, writes another, else increments a counter. */
async function conditional(caller: Caller, keyspace: string): Promise<void> {
  const { random, keys } = caller;
  const condition = keys.register(random, keyspace);
  const register = keys.register(random, keyspace);
  const counter = keys.counter(random, keyspace);
  const value = caller.newLabel();
  const options = caller.hurry();
  const written = caller.begin(keyspace, register, { kind: 'put', value }, options.timeout);
  const counted = caller.begin(keyspace, counter, { kind: 'increment', delta: 1n }, options.timeout);
  try {
    const { succeeded, results } = await caller.client.keyspace(keyspace).transact(
      {
        if: [{ key: condition, exists: true }],
        then: [{ put: register, value: bytesOf(value) }],
        else: [{ increment: counter }],
      },
      options,
    );
    const { version, counter: sum } = results[0]!;
    if (succeeded) written.applied({ version });
    else written.notTaken();
    if (succeeded) counted.notTaken();
    else counted.applied({ version, counter: sum });
  } catch (error) {
    written.failed(error);
    counted.failed(error);
  }
}
