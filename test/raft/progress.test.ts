import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InflightWindow } from '../../node/raft/core/inflight-window.ts';
import { Progress } from '../../node/raft/core/progress.ts';
import { DEFAULT_SETTINGS } from '../../node/raft/core/settings.ts';
import { UncommittedBytes } from '../../node/raft/core/uncommitted-bytes.ts';

type Step = { readonly send: number } | { readonly free: number } | 'reset';

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ send: fc.integer({ min: 1, max: 50 }) }) },
    { weight: 3, arbitrary: fc.record({ free: fc.integer({ min: 0, max: 60 }) }) },
    { weight: 1, arbitrary: fc.constant('reset' as const) },
  ),
  { maxLength: 80 },
);

test('a window holds what a plain list of messages would', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const window = new InflightWindow(5, 100);
      let list: { index: number; bytes: number }[] = [];
      let last = 0;
      for (const step of all) {
        if (step === 'reset') {
          window.reset();
          list = [];
        } else if ('send' in step) {
          if (window.isFull) continue;
          window.add(++last, step.send);
          list.push({ index: last, bytes: step.send });
        } else {
          window.freeTo(step.free);
          list = list.filter(({ index }) => index > step.free);
        }
        const bytes = list.reduce((sum, message) => sum + message.bytes, 0);
        expect([window.count, window.bytes]).toEqual([list.length, bytes]);
        expect(window.isFull).toBe(list.length >= 5 || bytes >= 100);
      }
    }),
  );
});

test('uncommitted bytes are those of what is not committed', () => {
  fc.assert(
    fc.property(steps, (all) => {
      const uncommitted = new UncommittedBytes(100);
      let list: { index: number; bytes: number }[] = [];
      let last = 0;
      for (const step of all) {
        if (step === 'reset') continue;
        if ('send' in step) {
          const bytes = list.reduce((sum, part) => sum + part.bytes, 0);
          expect(uncommitted.hasRoom(step.send)).toBe(list.length === 0 || bytes + step.send <= 100);
          if (!uncommitted.hasRoom(step.send)) continue;
          uncommitted.add(++last, step.send);
          list.push({ index: last, bytes: step.send });
        } else {
          uncommitted.freeTo(step.free);
          list = list.filter(({ index }) => index > step.free);
        }
        expect(uncommitted.bytes).toBe(list.reduce((sum, part) => sum + part.bytes, 0));
      }
    }),
  );
});

describe('progress', () => {
  const events = fc.array(
    fc.record({
      type: fc.constantFrom('sent', 'accepted', 'rejected', 'probe', 'replicate', 'snapshot', 'beat'),
      index: fc.integer({ min: 0, max: 30 }),
      hint: fc.integer({ min: 0, max: 30 }),
    }),
  );

  test('keeps match below next, and match never falls, whatever comes in whatever order', () => {
    fc.assert(
      fc.property(events, (all) => {
        const progress = new Progress(10, true, DEFAULT_SETTINGS);
        for (const { type, index, hint } of all) {
          const { match } = progress;
          if (type === 'sent') progress.noteSent(progress.next - 1 + (index % 4), 10);
          if (type === 'accepted') progress.noteAccepted(index);
          if (type === 'rejected') progress.noteRejected(index, hint);
          if (type === 'probe') progress.becomeProbe();
          if (type === 'replicate') progress.becomeReplicate();
          if (type === 'snapshot') progress.becomeSnapshot();
          if (type === 'beat') progress.noteBeat(30);
          expect(progress.match).toBeGreaterThanOrEqual(match);
          expect(progress.next).toBeGreaterThan(progress.match);
        }
      }),
    );
  });

  test('a probe that is rejected again and again reaches an agreement', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 60 }), (agreeing, next) => {
        const progress = new Progress(next, true, DEFAULT_SETTINGS);
        for (let probes = 0; progress.next - 1 > agreeing; probes++) {
          expect(probes).toBeLessThan(61);
          progress.noteRejected(progress.next - 1, progress.next - 2);
        }
        expect(progress.next - 1).toBeLessThanOrEqual(agreeing);
      }),
    );
  });
});
