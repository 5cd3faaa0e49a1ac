/**
 * What a process is told before it begins, and cannot be told later.
 *
 * Memory. LevelDB allocates in whichever thread of the pool it works, and glibc keeps for
 * every thread what it once needed: with two arenas they share. A batch for LevelDB is one
 * piece of up to 16 MiB, for which glibc makes its heap longer, for good, once it has seen
 * such pieces come and go: with a fixed threshold it maps them instead. V8 frees the buffers
 * of reads when it clears its youngest objects: at 8 MiB of these half as many bytes wait
 * for it as by default. Without these settings memory goes on growing for minutes.
 */
const ENVIRONMENT = { MALLOC_ARENA_MAX: '2', MALLOC_MMAP_THRESHOLD_: '262144' };
const FLAGS = ['--max-semi-space-size=8'];

/**
 * Puts this program in its own place with these settings: the same process, no second one.
 * Not where Node.js cannot do that (before 22.15, on Windows), nor when whoever started it has
 * chosen already or holds a channel to it, which would be lost; it then goes on as it is.
 */
export function restartWithSettings(): void {
  const { env, execArgv, argv, execPath } = process;
  const isSettled = env['MALLOC_ARENA_MAX'] !== undefined || process.send !== undefined;
  if (isSettled || process.platform === 'win32' || process.execve === undefined) return;
  process.execve(execPath, [execPath, ...FLAGS, ...execArgv, ...argv.slice(1)], { ...env, ...ENVIRONMENT });
}
