/** Software transactions of the npm package `etcd3`, which many make at once, on three nodes, through leaders that are killed. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';

const WORKERS = 4;
/** Of each worker, before and after a kill. */
const ROUNDS = 10;
/** Who finds what it read changed is told so, and begins anew. */
const RETRIES = 10_000;

let rig: Etcd3Rig;
let client: Client;
beforeAll(async () => {
  rig = await Etcd3Rig.start();
  client = rig.client();
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  expect(rig.kills).toBe(3);
});

const numbers = (count: number) => Array.from({ length: count }, (_, at) => at);

/** Isolation levels of the client that check what was read. */
it.each([
  ['SerializableSnapshot', 0],
  ['Serializable', 1],
  ['RepeatableReads', 2],
] as const)(
  'loses no update in an STM (%s) that many increment while a leader is killed',
  async (name, isolation) => {
    const on = client.namespace(`stm/${name}/`) as Client;
    await on.put('count').value(0);
    let attempts = 0;
    const incrementer = (worker: number) => {
      let step = 0;
      return () => {
        const marker = `done/${worker}/${step++}`;
        return rig.patiently(() =>
          on.stm({ isolation, retries: RETRIES }).transact(async (tx) => {
            attempts++;
            // An attempt whose answer was lost may have been done.
            if (await tx.get(marker).exists()) return;
            const count = (await tx.get('count').number())! + 1;
            await tx.put('count').value(count);
            expect(await tx.get('count').number()).toBe(count);
            await tx.put(marker).value(count);
          }),
        );
      };
    };
    const rounds = await rig.throughKills(1, ROUNDS, numbers(WORKERS).map(incrementer));
    const counts = Object.values(await on.getAll().prefix('done/').numbers());
    expect(counts.sort((a, b) => a - b)).toEqual(numbers(rounds).map((at) => at + 1));
    expect(await on.get('count').number()).toBe(rounds);
    console.log(`${name}: ${rounds} increments in ${attempts} attempts`);
    expect(rounds).toBeGreaterThanOrEqual(2 * WORKERS * ROUNDS);
    expect(attempts).toBeGreaterThan(rounds); // else nobody was in another's way
  },
);

it('does all that an STM writes at once, also deletes, and nothing when its function fails', async () => {
  const on = client.namespace('stm-whole/') as Client;
  await on.put('gone').value('x');
  await on.stm().transact(async (tx) => {
    await tx.put('one').value(1);
    await tx.put('two').value(2);
    await tx.delete().key('gone');
  });
  expect(await on.getAll().strings()).toEqual({ one: '1', two: '2' });
  const [one, two] = (await on.getAll().all().exec()).kvs;
  expect(one!.mod_revision).toBe(two!.mod_revision);
  const failing = on.stm().transact(async (tx) => {
    await tx.put('one').value('never');
    throw new Error('changed my mind');
  });
  await expect(failing).rejects.toThrow('changed my mind');
  // Two who read both keys and write one each: the second one is told and sees what the first did.
  let first = true;
  await on
    .stm({ isolation: 1, retries: 0 })
    .transact(async (tx) => {
      await tx.get('one');
      if (first) await on.put('one').value('meanwhile');
      first = false;
      await tx.put('two').value('skewed');
    })
    .then(
      () => expect.unreachable('a conflict was overlooked'),
      (error: Error) => expect(error.message).toBe('A conflict occurred executing the software transaction'),
    );
  expect(await on.getAll().strings()).toEqual({ one: 'meanwhile', two: '2' });
});
