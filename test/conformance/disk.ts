import { describe, expect, it } from 'vitest';
import type { Disk } from '../../node/runtime/disk.ts';
import { errorCode, scene, type Staged } from './stage.ts';

const text = (value: string) => new TextEncoder().encode(value);
const plain = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** What every Disk must do. */
export function describeDisk(name: string, factory: () => Promise<Staged<Disk>>): void {
  const play = (body: (disk: Disk) => Promise<void>) => scene(factory, body);

  describe(`Disk: ${name}`, () => {
    it(
      'creates, writes, reads, and opens again',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        await file.write(0, text('hello world'));
        await file.write(6, text('there'));
        expect(plain(await file.read(0, 11))).toBe('hello there');
        await file.sync();
        await file.close();
        const again = await disk.open('a', 'existing');
        expect(plain(await again.read(6, 100))).toBe('there');
        expect(await again.size()).toBe(11);
        await again.close();
        expect(plain(await disk.read('a'))).toBe('hello there');
      }),
    );

    it(
      'refuses to create what is there and to open or read what is not',
      play(async (disk) => {
        await (await disk.open('a', 'create')).close();
        expect(await errorCode(disk.open('a', 'create'))).toBe('EEXIST');
        expect(await errorCode(disk.open('b', 'existing'))).toBe('ENOENT');
        expect(await errorCode(disk.read('b'))).toBe('ENOENT');
        expect(await errorCode(disk.open('no/b', 'create'))).toBe('ENOENT');
        expect(await errorCode(disk.rename('b', 'c'))).toBe('ENOENT');
        expect(await errorCode(disk.syncDirectory('no'))).toBe('ENOENT');
      }),
    );

    it(
      'reads fewer bytes at the end of the file only, and none beyond',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        await file.write(0, new Uint8Array(1000).fill(7));
        expect(await file.read(990, 100)).toHaveLength(10);
        expect(await file.read(1000, 10)).toHaveLength(0);
        expect(await file.read(5000, 10)).toHaveLength(0);
        expect(await file.read(0, 0)).toHaveLength(0);
        await file.close();
      }),
    );

    it(
      'fills a gap and an extension with zeros, and cuts',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        await file.write(3, text('x'));
        expect([...(await file.read(0, 10))]).toEqual([0, 0, 0, 120]);
        await file.truncate(2);
        await file.truncate(5);
        expect([...(await file.read(0, 10))]).toEqual([0, 0, 0, 0, 0]);
        expect(await file.size()).toBe(5);
        await file.close();
      }),
    );

    it(
      'completes overlapping calls',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        const parts = Array.from({ length: 20 }, (_, i) => i);
        await Promise.all(parts.map((i) => file.write(i * 700, new Uint8Array(700).fill(i))));
        await Promise.all([file.sync(), file.sync()]);
        const bytes = await file.read(0, 14_000);
        for (const i of parts) expect(bytes[i * 700 + 350]).toBe(i);
        await file.close();
      }),
    );

    it(
      'writes durably between other writes, and closes what that took',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        await file.write(0, text('aaaa'));
        await file.writeDurably(2, text('bbbb'));
        await Promise.all([file.writeDurably(6, text('cc')), file.write(8, text('dd'))]);
        expect(plain(await file.read(0, 100))).toBe('aabbbbccdd');
        await file.close();
        expect(await errorCode(file.writeDurably(0, text('x')))).toBe('EBADF');
        expect(plain(await disk.read('a'))).toBe('aabbbbccdd');
      }),
    );

    it(
      'refuses calls on a closed file',
      play(async (disk) => {
        const file = await disk.open('a', 'create');
        await file.close();
        expect(await errorCode(file.write(0, text('x')))).toBe('EBADF');
        expect(await errorCode(file.sync())).toBe('EBADF');
      }),
    );

    it(
      'makes and lists directories',
      play(async (disk) => {
        expect(await disk.list('d')).toEqual([]);
        await disk.makeDirectory('d/e');
        await disk.makeDirectory('d/e');
        await (await disk.open('d/b', 'create')).close();
        await (await disk.open('d/a', 'create')).close();
        await (await disk.open('d/e/inside', 'create')).close();
        expect(await disk.list('d')).toEqual(['a', 'b', 'e']);
        expect(await disk.list('')).toEqual(['d']);
        await disk.syncDirectory('');
        await disk.syncDirectory('d/e');
      }),
    );

    it(
      'renames over a file and removes twice',
      play(async (disk) => {
        const old = await disk.open('old', 'create');
        await old.write(0, text('new content'));
        await (await disk.open('there', 'create')).close();
        await disk.rename('old', 'there');
        expect(await disk.list('')).toEqual(['there']);
        expect(plain(await disk.read('there'))).toBe('new content');
        await old.close();
        await disk.remove('there');
        await disk.remove('there');
        expect(await disk.list('')).toEqual([]);
      }),
    );

    it(
      'knows its free space',
      play(async (disk) => {
        expect(await disk.freeBytes()).toBeGreaterThan(0);
      }),
    );
  });
}
