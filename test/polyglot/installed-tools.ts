/**
 * Which tools of other languages this machine has. `npm test` needs none of them: what
 * cannot run is skipped and says why. `.ci/run` installs them all and allows no skip.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { describe } from 'vitest';

const REFLECTION_PROTOS = '/usr/share/grpc-proto';

/** A tool's path, or what is missing and how to get it. */
export type Tool = { readonly path: string } | { readonly missing: string };

/** A Python that can import grpc. */
export const python: Tool = firstThat(
  ['/usr/bin/python3', ...onPath('python3')],
  (path) => spawnSync(path, ['-c', 'import grpc, google.protobuf']).status === 0,
  'no python3 with grpc (Debian: python3-grpcio)',
);
/** A Python that has the package etcd3. */
export const pythonEtcd: Tool = firstThat(
  ['/usr/bin/python3', ...onPath('python3')],
  (path) => spawnSync(path, ['-c', 'import etcd3']).status === 0,
  'no python3 with etcd3 (Debian: python3-etcd3)',
);
/** A Python with nothing but its standard library. */
export const barePython: Tool = firstThat(onPath('python3'), runs, 'no python3');
/** A protoc that finds the types that come with it, which Debian packs by themselves. */
export const protoc: Tool = firstThat(
  onPath('protoc'),
  (path) =>
    spawnSync(path, ['--descriptor_set_out=/dev/null', 'google/protobuf/duration.proto']).status === 0,
  'no protoc with its types (Debian: protobuf-compiler, libprotobuf-dev)',
);
export const pythonPlugin: Tool = firstThat(
  onPath('grpc_python_plugin'),
  existsSync,
  'no grpc_python_plugin (Debian: protobuf-compiler-grpc)',
);
export const curl: Tool = firstThat(onPath('curl'), runs, 'no curl (Debian: curl)');
export const bash: Tool = firstThat(onPath('bash'), runs, 'no bash');
export const prometheus: Tool = firstThat(onPath('prometheus'), runs, 'no prometheus (Debian: prometheus)');
export const promtool: Tool = firstThat(onPath('promtool'), runs, 'no promtool (Debian: prometheus)');
/** The reflection contracts as gRPC publishes them, so that nothing of ours vouches for ours. */
export const reflectionProtos: Tool = firstThat(
  [REFLECTION_PROTOS],
  existsSync,
  'no gRPC contracts (Debian: grpc-proto)',
);

/** The release of etcd that Holdfast is compared with; others say some things in other words. */
const ETCD_RELEASE = /\b3\.4\.\d/;
export const etcd: Tool = firstThat(
  onPath('etcd'),
  (path) => ETCD_RELEASE.test(said(path, '--version')),
  'no etcd 3.4 (Debian: etcd-server)',
);
export const etcdctl: Tool = firstThat(
  onPath('etcdctl'),
  (path) => ETCD_RELEASE.test(said(path, 'version')),
  'no etcdctl 3.4 (Debian: etcd-client)',
);

/** `describe` that is skipped, with the reason in its title, when a tool is missing. */
export function describeWith(tools: readonly Tool[], title: string, tests: () => void): void {
  const missing = tools.flatMap((tool) => ('missing' in tool ? [tool.missing] : []));
  if (missing.length > 0) console.warn(`skipped: ${title}: ${missing.join('; ')}`);
  const reason = missing.length === 0 ? '' : ` (skipped: ${missing.join('; ')})`;
  describe.skipIf(missing.length > 0)(title + reason, tests);
}

/** The path of a tool that was asked for by `describeWith`. */
export function pathOf(tool: Tool): string {
  if ('missing' in tool) throw new Error(tool.missing);
  return tool.path;
}

/** Files of this name on PATH. */
export function onPath(name: string): string[] {
  const candidates = (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, name));
  return candidates
    .filter((path) => existsSync(path))
    .map((path) => (name === 'npm' ? path : realpathSync(path)));
}

function firstThat(paths: readonly string[], works: (path: string) => boolean, missing: string): Tool {
  const path = paths.find((one) => existsSync(one) && works(one));
  return path === undefined ? { missing } : { path };
}

function said(path: string, argument: string): string {
  return String(spawnSync(path, [argument], { env: { ETCDCTL_API: '3' } }).stdout);
}

function runs(path: string): boolean {
  return spawnSync(path, ['--version']).status === 0;
}
