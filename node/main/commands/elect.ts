import { hostname } from 'node:os';
import type { Holdfast, Leader, Lease } from '@holdfast/client';
import { type ClusterOptions, withCluster } from '../cluster-call.ts';
import { usageFailure } from '../command-failure.ts';
import { bytesJson, bytesText } from '../entry-json.ts';
import { ExitCode } from '../exit-code.ts';
import { interruption } from '../interruption.ts';
import { holderName, holdingFailure } from './holding.ts';
import { print, printError, printJson, printTable } from '../output.ts';

/** Options of `holdfast elect`. */
export interface ElectOptions extends ClusterOptions {
  ttl?: number;
  wait?: number;
  observe?: boolean;
  describe?: boolean;
  holder?: string;
}

/** `holdfast elect`; gives the exit code. */
export async function elect(
  name: string,
  value: string | undefined,
  options: ElectOptions,
): Promise<ExitCode> {
  const { observe, describe } = options;
  if (value !== undefined && (observe === true || describe === true))
    throw usageFailure('VALUE is for candidates: leave it out with --observe and --describe');
  if (observe === true && describe === true)
    throw usageFailure('--observe and --describe exclude each other');
  const working = withCluster(options, async (client, hopeless) => {
    const signal = interruption(hopeless);
    if (describe === true) return show(client, name, options, hopeless);
    if (observe === true) return follow(client, name, options, signal, hopeless);
    return lead(client, name, value ?? `${hostname()}/${process.pid}`, options, signal, hopeless);
  });
  return working.catch((error: unknown) => {
    throw holdingFailure(error);
  });
}

async function show(
  client: Holdfast,
  name: string,
  { json }: ElectOptions,
  signal: AbortSignal,
): Promise<ExitCode> {
  const { leader, candidates, revision } = await client.election(name).describe({ signal });
  if (json)
    await printJson({
      election: name,
      leader: leader === undefined ? null : leaderJson(leader),
      candidates: candidates.map(String),
      revision: String(revision),
    });
  else
    await printTable(
      ['STATE', 'SESSION', 'NAME', 'TOKEN', 'SAYS'],
      [
        ...(leader === undefined ? [] : [leaderRow(leader)]),
        ...candidates.map((session) => ['candidate', String(session), '', '', '']),
      ],
    );
  return ExitCode.DONE;
}

async function follow(
  client: Holdfast,
  name: string,
  { json }: ElectOptions,
  signal: AbortSignal,
  hopeless: AbortSignal,
): Promise<ExitCode> {
  try {
    for await (const leader of client.election(name).observe({ signal }))
      if (json) await printJson({ leader: leader === undefined ? null : leaderJson(leader) });
      else
        await print(
          leader === undefined
            ? 'nobody leads\n'
            : `${bytesText(leader.bytes)} leads, token ${leader.token}\n`,
        );
  } catch (error) {
    if (!signal.aborted || hopeless.aborted) throw error;
  }
  return ExitCode.DONE;
}

async function lead(
  client: Holdfast,
  name: string,
  value: string,
  { json, ttl, wait, holder }: ElectOptions,
  signal: AbortSignal,
  hopeless: AbortSignal,
): Promise<ExitCode> {
  const election = client.election(name);
  let session: Lease | undefined;
  try {
    session = await client.session({ ttl, name: holder ?? holderName(), signal });
    const leadership = await election.campaign(value, { wait, session, signal });
    if (json) await printJson({ elected: true, token: String(leadership.token) });
    else await print(`elected, token ${leadership.token}\n`);
    await firstOf(signal, leadership.signal);
    if (leadership.signal.aborted) {
      await printError(`holdfast: the leadership of ${JSON.stringify(name)} is lost`);
      return ExitCode.LOST;
    }
    return ExitCode.DONE;
  } catch (error) {
    if (signal.aborted && !hopeless.aborted) return ExitCode.DONE;
    throw error;
  } finally {
    if (session !== undefined) await giveUp(name, session);
  }
}

/** Ends the session, and with it leadership or candidacy, before the process is gone. */
async function giveUp(name: string, session: Lease): Promise<void> {
  const wasAlive = session.isAlive;
  try {
    await session.revoke();
  } catch (error) {
    if (!wasAlive) return;
    const left = `what is left of it ends in at most ${session.ttlMs} ms`;
    await printError(
      `holdfast: election ${JSON.stringify(name)} could not be left, ${left}: ${(error as Error).message}`,
    );
  }
}

function firstOf(...signals: AbortSignal[]): Promise<void> {
  const any = AbortSignal.any(signals);
  if (any.aborted) return Promise.resolve();
  // What renews the lease keeps the process alive.
  return new Promise((resolve) => any.addEventListener('abort', () => resolve(), { once: true }));
}

function leaderJson({ session, name, token, bytes, revision }: Leader): Record<string, string> {
  return {
    session: String(session),
    name,
    token: String(token),
    ...bytesJson('value', bytes),
    revision: String(revision),
  };
}

function leaderRow({ session, name, token, bytes }: Leader): string[] {
  return ['leads', String(session), name, String(token), bytesText(bytes)];
}
