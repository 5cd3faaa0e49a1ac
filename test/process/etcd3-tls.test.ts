/** The npm package `etcd3` over TLS on three nodes that want certificates, through leaders that are killed. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { getCACertificates, setDefaultCACertificates } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Authority } from './certificates.ts';
import { GRPCUnavailableError } from './etcd3-client.ts';
import { Etcd3Rig, type Client } from './etcd3-rig.ts';
import { until } from './real-node.ts';

const KILLS = 2;
const ROUNDS = 20;
const TOLD_MS = 20_000;

let authority: Authority;
let rig: Etcd3Rig;
let hosts: string[];
let trusted: string[];
beforeAll(async () => {
  authority = await Authority.create();
  trusted = getCACertificates('default');
  setDefaultCACertificates([authority.certificate]); // for the test itself, which asks nodes how they are
  const { certificate, key } = await authority.sign();
  rig = await Etcd3Rig.start({
    tls: ['cert: node.crt', 'key: node.key', 'ca: ca.crt', 'client_auth: require', 'http_client_auth: none'],
    furnish: (directory) => {
      writeFileSync(join(directory, 'ca.crt'), authority.certificate);
      writeFileSync(join(directory, 'node.crt'), certificate);
      writeFileSync(join(directory, 'node.key'), key);
    },
  });
  hosts = rig.cluster.endpoints.map((endpoint) => `https://${endpoint}`);
}, 120_000);
afterAll(async () => {
  console.log(rig.account);
  await rig[Symbol.asyncDispose]();
  setDefaultCACertificates(trusted);
  expect(rig.kills).toBe(KILLS);
});

/** A client whose certificate `signedBy` has signed, and who believes `believes`. */
async function clientOf(signedBy: Authority | undefined, believes = authority): Promise<Client> {
  const own = await signedBy?.sign({ name: 'client' });
  const credentials = {
    rootCertificate: Buffer.from(believes.certificate),
    ...(own && { privateKey: Buffer.from(own.key), certChain: Buffer.from(own.certificate) }),
  };
  // Its gRPC asks for the address by name, which Node.js does not do for one of numbers.
  return rig.client({ hosts, credentials, grpcOptions: { 'grpc.ssl_target_name_override': 'localhost' } });
}

it('puts, watches, leases, locks and transacts', async () => {
  const client = await clientOf(authority);
  const told: string[] = [];
  const watch = await client.watch().prefix('w/').create();
  watch.on('put', ({ value }) => told.push(value.toString()));
  const lease = client.lease(10);
  await lease.put('leased').value('x');
  const lost: Error[] = [];
  lease.on('lost', (error) => lost.push(error));
  let [puts, locks, moves] = [0, 0, 0];
  await client.put('moves').value(0);
  await rig.throughKills(KILLS, ROUNDS, [
    async () => {
      const value = `${++puts}`;
      // One that was done and not answered is not done again.
      const put = client.if('w/k', 'Value', '==', value).else(client.put('w/k').value(value));
      await rig.patiently(() => put.commit());
    },
    async () => {
      await rig.alone(() => client.lock('lock').do(() => locks++));
    },
    async () => {
      const marker = `moved/${moves++}`;
      await rig.patiently(() =>
        client.stm({ retries: 100 }).transact(async (tx) => {
          if (await tx.get(marker).exists()) return;
          await tx.put('moves').value((await tx.get('moves').number())! + 1);
          await tx.put(marker).value('');
        }),
      );
    },
  ]);
  await until(
    () => told.length >= puts,
    TOLD_MS,
    () => `${told.length} of ${puts} were told`,
  );
  expect(told).toEqual(Array.from({ length: puts }, (_, at) => `${at + 1}`));
  expect(await client.get('moves').number()).toBe(moves);
  expect([await client.get('leased'), lost]).toEqual(['x', []]);
  console.log(`${puts} puts, ${locks} locks, ${moves} moves`);
  for (const count of [puts, locks, moves]) expect(count).toBeGreaterThanOrEqual((KILLS + 1) * ROUNDS);
  await lease.revoke();
  await watch.cancel();
}, 120_000);

it('lets in nobody without a certificate of its authority, and is believed by nobody who trusts another', async () => {
  const stranger = await Authority.create('Somebody Else');
  const refusal = (client: Client, value: string) =>
    client
      .put('k')
      .value(value)
      .exec()
      .then(
        () => expect.unreachable(`let in: ${value}`),
        (error: Error) => {
          expect(error, value).toBeInstanceOf(GRPCUnavailableError);
          return error.message;
        },
      );
  await refusal(await clientOf(undefined), 'no certificate');
  await refusal(await clientOf(stranger), 'a certificate of somebody else');
  expect(await refusal(await clientOf(authority, stranger), 'who trusts another')).toMatch(/certificate/);
  await refusal(rig.client({ hosts: rig.cluster.endpoints }), 'in plain text');
  const client = await clientOf(authority);
  expect(await client.get('k')).toBe(null);
});
