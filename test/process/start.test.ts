import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { RealNode } from './real-node.ts';

it('has 16 threads for the disk, however it was started', async (context) => {
  if (process.platform !== 'linux') context.skip('threads are counted in /proc, which only Linux has');
  await using node = await RealNode.start();
  await fetch(`${node.url}/v1/kv/default/key`, { method: 'PUT', body: 'value' });
  const tasks = `/proc/${node.pid}/task`;
  const names = readdirSync(tasks).map((task) => readFileSync(`${tasks}/${task}/comm`, 'utf8').trim());
  expect(names.filter((name) => name === 'libuv-worker')).toHaveLength(16);
  expect(await node.stop()).toMatchObject({ code: 0 });
});
