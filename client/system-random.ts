import { randomBytes, randomInt } from 'node:crypto';
import type { Random } from './random.ts';

/** The generator of the operating system. */
export class SystemRandom implements Random {
  u32(): number {
    return randomInt(0x1_0000_0000);
  }

  float(): number {
    return this.u32() / 0x1_0000_0000;
  }

  bytes(length: number): Uint8Array {
    return new Uint8Array(randomBytes(length));
  }
}
