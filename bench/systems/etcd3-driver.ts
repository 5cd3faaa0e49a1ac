/** Any server of etcd's API v3, through npm etcd3. */
import { Etcd3 } from 'etcd3';
import type { Driver } from '../system.ts';

export function etcd3Driver(hosts: readonly string[]): Driver {
  const client = new Etcd3({ hosts: [...hosts] });
  const put = (key: string, value: Uint8Array) =>
    client
      .put(key)
      .value(Buffer.from(value.buffer, value.byteOffset, value.byteLength))
      .exec();
  return {
    put,
    get: (key) => client.get(key).buffer(),
    configPut: put,
    lockCycle: async (name) => {
      const lock = await client.lock(name).ttl(30).acquire();
      await lock.release();
    },
    follow: (prefix, watchers, onChange) => follow(hosts, prefix, watchers, onChange),
    increment: async (key) => {
      for (;;) {
        const current = await client.get(`count/${key}`).exec();
        const kv = current.kvs[0];
        const next = String(Number(kv?.value.toString() ?? 0) + 1);
        const compare =
          kv === undefined
            ? client.if(`count/${key}`, 'Create', '==', 0)
            : client.if(`count/${key}`, 'Mod', '==', kv.mod_revision);
        if ((await compare.then(client.put(`count/${key}`).value(next)).commit()).succeeded) return;
      }
    },
    scan: (start, limit) => client.getAll().prefix(start.slice(0, 4)).limit(limit).buffers(),
    close: async () => client.close(),
  };
}

/** From a connection of its own. */
async function follow(
  hosts: readonly string[],
  prefix: string,
  watchers: number,
  onChange: (key: string) => void,
): Promise<() => Promise<void>> {
  const client = new Etcd3({ hosts: [...hosts] });
  const following = await Promise.all(
    Array.from({ length: watchers }, async () => {
      const watcher = await client.watch().prefix(prefix).create();
      return watcher.on('put', ({ key }) => onChange(key.toString()));
    }),
  );
  return async () => {
    // A watcher that is not cancelled connects again for ever, also after its client is closed.
    await Promise.all(following.map((watcher) => watcher.cancel()));
    client.close();
  };
}
