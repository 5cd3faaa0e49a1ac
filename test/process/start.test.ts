import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { expect, it } from 'vitest';
import { HOLDFAST, RealNode, until } from './real-node.ts';

it('has 16 threads for the disk, however it was started', async (context) => {
  if (process.platform !== 'linux') context.skip('threads are counted in /proc, which only Linux has');
  await using node = await RealNode.start();
  await fetch(`${node.url}/v1/kv/default/key`, { method: 'PUT', body: 'value' });
  const tasks = `/proc/${node.pid}/task`;
  const names = readdirSync(tasks).map((task) => readFileSync(`${tasks}/${task}/comm`, 'utf8').trim());
  expect(names.filter((name) => name === 'libuv-worker')).toHaveLength(16);
  expect(await node.stop()).toMatchObject({ code: 0 });
});

it('restarts in its own place with what keeps its memory flat, in a directory of its own that nobody else can read', async (context) => {
  if (process.platform !== 'linux') context.skip('processes are looked at in /proc, which only Linux has');
  await using node = await RealNode.prepare();
  const { MALLOC_ARENA_MAX: _, ...env } = process.env;
  const config = ['--config', `${node.directory}/cluster.yaml`, '--data-dir', `${node.directory}/made`];
  // Without a channel, which would keep it as it was started.
  const child = spawn(process.execPath, [HOLDFAST, 'start', '--node', 'n1', ...config], {
    env,
    stdio: 'ignore',
  });
  const ended = once(child, 'exit');
  try {
    const isReady = () =>
      fetch(`${node.url}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
    await until(isReady, 30_000, () => 'the node does not become ready');
    const about = (file: string) => readFileSync(`/proc/${child.pid}/${file}`, 'utf8').split('\0');
    expect(about('environ')).toContain('MALLOC_ARENA_MAX=2');
    expect(about('cmdline')).toContain('--max-semi-space-size=8');
    expect(statSync(`${node.directory}/made`).mode & 0o077).toBe(0);
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  } finally {
    child.kill('SIGKILL');
  }
});
