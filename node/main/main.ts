import { enableCompileCache } from 'node:module';
import { restartWithSettings } from './process-settings.ts';

if (process.argv[2] === 'start') restartWithSettings();
// The entry of every holdfast process, CLI or node. Compiled code is kept between runs
// where Node.js can do that: most of a short command's time would go into compiling.
enableCompileCache?.();
// The default of 4 threads lets a few synced writes hold up every read (node/docs/design.md).
// Read once, when the pool is first used; nothing has used it here.
process.env['UV_THREADPOOL_SIZE'] ??= '16';
// grpc-js writes to stderr on its own what is an error of ours later, in better words.
process.env['GRPC_VERBOSITY'] ??= 'NONE';
const { runCommandLine } = await import('./commands/program.ts');
process.exit(await runCommandLine(process.argv.slice(2)));
