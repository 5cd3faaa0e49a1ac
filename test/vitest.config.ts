import { defineConfig } from 'vitest/config';

const conditions = ['holdfast-source', 'node', 'import', 'module', 'default'];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    root: new URL('..', import.meta.url).pathname,
    include: ['test/**/*.test.ts'],
    // Bounds for a machine that is slow and has other work.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // One more than it has cores: many tests wait for something most of the time.
    maxWorkers: 3,
  },
});
