/** A node that has not applied the newest permissions yet refuses nobody by the old ones. */
import { create } from '@bufbuild/protobuf';
import { ConfigService, GetRequestSchema } from '@holdfast/proto/config/v1/config';
import { expect, test } from 'vitest';
import { HoldfastError } from '../../client/error.ts';
import { Access, type Gate } from '../../node/services/access.ts';
import { AccessRules, guardedService, type MethodRules } from '../../node/services/guarded-service.ts';
import type { CallContext } from '../../node/services/handler.ts';
import { reasonOf } from './auth-rig.ts';

const method = ConfigService.method.get;

/** A node whose permissions allow a key only once it has caught up, if that changes anything. */
class LateNode {
  isAllowed = false;
  reads = 0;
  readonly gate: Gate;

  constructor(catchUp: (node: LateNode) => void) {
    const part = { state: { revision: 1 }, isRoot: () => false, allows: () => this.isAllowed };
    this.gate = {
      part,
      callerOf: () => ({ case: 'user', name: 'alice' }),
      awaitRead: async () => {
        this.reads++;
        catchUp(this);
        part.state.revision++;
      },
    } as unknown as Gate;
  }

  async ask(): Promise<string | undefined> {
    const rule = { needs: () => [{ use: 'read', span: { start: 'k', end: 'l' } }], kind: 'write' };
    const all = Object.fromEntries(ConfigService.methods.map(({ localName }) => [localName, rule]));
    const rules = new AccessRules().add(ConfigService, all as unknown as MethodRules<typeof ConfigService>);
    const handlers = { [method.localName]: async () => ({}) };
    const guarded = guardedService({ service: ConfigService, handlers }, rules).handlers[method.localName];
    const context = { access: new Access(this.gate, 'token'), deadlineMs: 0 } as unknown as CallContext;
    return reasonOf(
      (guarded as (...inputs: unknown[]) => Promise<unknown>)(context, create(GetRequestSchema)),
    );
  }
}

test('whoever has been given a permission is let in', async () => {
  expect(await new LateNode((node) => void (node.isAllowed = true)).ask()).toBeUndefined();
});

test('whoever has not is refused, after one look', async () => {
  const node = new LateNode(() => undefined);
  expect(await node.ask()).toBe('PERMISSION_DENIED');
  expect(node.reads).toBe(1);
});

test('whoever is let in is not looked at twice', async () => {
  const node = new LateNode(() => undefined);
  node.isAllowed = true;
  expect(await node.ask()).toBeUndefined();
  expect(node.reads).toBe(0);
});

test('without a leader what is known counts', async () => {
  const node = new LateNode(() => {
    throw new HoldfastError({ reason: 'NO_LEADER', message: 'nobody leads' });
  });
  expect(await node.ask()).toBe('PERMISSION_DENIED');
});
