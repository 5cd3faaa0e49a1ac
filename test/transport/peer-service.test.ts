import { create, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { ReceiveResponseSchema } from '@holdfast/proto/raft/v1/peer';
import { encodeResponse, FORMAT_VERSION, responseBytes } from '../../node/transport/peer-service.ts';

it('encodes responses as the library does', () => {
  const sizes = [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152];
  const message = fc
    .oneof(fc.constantFrom(...sizes), fc.nat(300))
    .map((size) => new Uint8Array(size).fill(size % 251));
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
      const target = Buffer.alloc(responseBytes(messages) + 10, 255);
      const expected = toBinary(
        ReceiveResponseSchema,
        create(ReceiveResponseSchema, { formatVersion: FORMAT_VERSION, messages }),
      );
      const encoded = encodeResponse(messages, target);
      expect(responseBytes(messages)).toBe(expected.length);
      expect(encoded.equals(expected)).toBe(true);
    }),
    { numRuns: 60 },
  );
});
