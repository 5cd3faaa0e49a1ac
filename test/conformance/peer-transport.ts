import { describe, expect, it } from 'vitest';
import type { PeerTransport } from '../../node/runtime/peer-transport.ts';
import { scene, until, type Stage, type Staged } from './stage.ts';

/** Transports of three nodes named a, b and c that know each other. */
export interface ThreePeers {
  readonly a: PeerTransport;
  readonly b: PeerTransport;
  readonly c: PeerTransport;
}

const text = (value: string) => new TextEncoder().encode(value);

function listen(transport: PeerTransport): string[] {
  const heard: string[] = [];
  transport.onMessage((peer, message) => heard.push(`${peer}: ${new TextDecoder().decode(message)}`));
  return heard;
}

/** What every PeerTransport must do while the network is well. */
export function describePeerTransport(name: string, factory: () => Promise<Staged<ThreePeers>>): void {
  const play = (body: (peers: ThreePeers, stage: Stage) => Promise<void>) => scene(factory, body);

  describe(`PeerTransport: ${name}`, () => {
    it(
      'carries messages both ways with the name of the sender',
      play(async ({ a, b, c }, { clock }) => {
        const [heardA, heardB, heardC] = [listen(a), listen(b), listen(c)];
        a.send('b', text('one'));
        b.send('a', text('two'));
        c.send('b', text('three'));
        await until(clock, () => heardA.length === 1 && heardB.length === 2);
        expect(heardA).toEqual(['b: two']);
        expect(heardB.sort()).toEqual(['a: one', 'c: three']);
        expect(heardC).toEqual([]);
      }),
    );

    it(
      'carries every size whole, and many messages in order',
      play(async ({ a, b }, { clock }) => {
        const sizes: number[] = [];
        const sent = [0, 1, 70_000, 5_000_000, ...Array.from({ length: 300 }, (_, i) => i)];
        b.onMessage((_, message) => sizes.push(message.length));
        for (const size of sent) a.send('b', new Uint8Array(size));
        await until(clock, () => sizes.length === sent.length);
        expect(sizes).toEqual(sent);
        await until(clock, () => a.queuedBytes('b') === 0);
      }),
    );

    it(
      'drops what it cannot send: to an unknown peer, or over the bound on queued bytes',
      play(async ({ a, b }, { clock }) => {
        a.send('nobody', text('x'));
        const heard: number[] = [];
        b.onMessage((_, message) => heard.push(message.length));
        for (let i = 0; i < 40; i++) a.send('b', new Uint8Array(4 * 2 ** 20));
        expect(a.queuedBytes('b')).toBeLessThanOrEqual(64 * 2 ** 20);
        await until(clock, () => heard.length > 0 && a.queuedBytes('b') === 0);
        expect(heard.length).toBeLessThan(40);
      }),
    );

    it(
      'is silent once closed',
      play(async ({ a, b }, { clock }) => {
        const [heardA, heardB] = [listen(a), listen(b)];
        a.send('b', text('before'));
        await until(clock, () => heardB.length === 1);
        await b.close();
        await b.close();
        b.send('a', text('after'));
        a.send('b', text('after'));
        let turns = 0;
        clock.setTimer(50, () => turns++);
        await until(clock, () => turns === 1);
        expect([heardA, heardB]).toEqual([[], ['a: before']]);
      }),
    );
  });
}
