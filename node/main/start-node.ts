import type { ClusterConfig } from './cluster-file.ts';
import { CommandFailure } from './command-failure.ts';
import { ExitCode } from './exit-code.ts';
import { runNode, type RunningNode, type RunNodeOptions } from './node.ts';
import { print, printJson } from './output.ts';
import { type NodePlan, readyJson, welcome } from './start-plan.ts';
import { starterGone, stopRequested } from './stop-signals.ts';

/** What to run in this process. */
export interface NodeStart {
  config: ClusterConfig;
  plan: NodePlan;
  json: boolean;
  /** The cluster that the node joins. */
  join?: RunNodeOptions['join'];
}

/** Runs one node in this process until it is asked to stop or its starter is gone. */
export async function startNode(start: NodeStart): Promise<ExitCode> {
  const asked = Promise.race([stopRequested(), starterGone()]);
  const node = await Promise.race([started(start), asked]);
  // Ended while starting: nothing was acknowledged yet, and a start can be cut off anywhere.
  if (node === undefined) return ExitCode.DONE;
  const end = await Promise.race([node.closed, asked]);
  if (end?.error !== undefined) throw refusal(end.error);
  await node.stop();
  return ExitCode.DONE;
}

async function started({ config, plan, json, join }: NodeStart): Promise<RunningNode> {
  try {
    return await runNode({
      config,
      node: plan.node.name,
      dataDirectory: plan.dataDirectory,
      ...(join && { join }),
      onReady: (leader) => announce(config, plan, json, leader),
    });
  } catch (error) {
    throw refusal(error as Error);
  }
}

function announce(config: ClusterConfig, plan: NodePlan, json: boolean, leader: string): void {
  // A starter that listens does its own announcing, once for all nodes.
  if (process.send !== undefined) process.send({ event: 'ready', leader });
  else if (json) void printJson(readyJson(config.cluster, [{ ...plan, pid: process.pid }], leader));
  else void print(welcome(config.cluster, [plan], leader));
}

function refusal(error: Error): CommandFailure {
  const failure = new CommandFailure(ExitCode.REFUSED, {
    reason: 'NODE_FAILED',
    code: 'FAILED_PRECONDITION',
    message: error.message,
  });
  failure.cause = error;
  return failure;
}
