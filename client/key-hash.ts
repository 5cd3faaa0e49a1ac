/**
 * Where a key stands on the ring: MurmurHash3 x86 32-bit (Austin Appleby, public domain
 * reference `MurmurHash3_x86_32`), seed 0, over the raw bytes of the key. Every client
 * and node must agree on it for ever, so it has no options.
 */
export function keyHash(key: Uint8Array): number {
  const length = key.length;
  const blocksEnd = length & ~3;
  let hash = 0;
  for (let at = 0; at < blocksEnd; at += 4) {
    const block = key[at]! | (key[at + 1]! << 8) | (key[at + 2]! << 16) | (key[at + 3]! << 24);
    hash ^= scramble(block);
    hash = (hash << 13) | (hash >>> 19);
    hash = (Math.imul(hash, 5) + 0xe6546b64) | 0;
  }
  let tail = 0;
  if (length - blocksEnd === 3) tail ^= key[blocksEnd + 2]! << 16;
  if (length - blocksEnd >= 2) tail ^= key[blocksEnd + 1]! << 8;
  if (length > blocksEnd) hash ^= scramble(tail ^ key[blocksEnd]!);
  return finish(hash ^ length);
}

function scramble(block: number): number {
  const mixed = Math.imul(block, 0xcc9e2d51);
  return Math.imul((mixed << 15) | (mixed >>> 17), 0x1b873593);
}

function finish(hash: number): number {
  let mixed = hash ^ (hash >>> 16);
  mixed = Math.imul(mixed, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
