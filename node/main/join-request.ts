/** How a node that is to join a cluster asks to be taken in: as an operator would, by `AddMember`. */
import { readFileSync } from 'node:fs';
import { connect } from '@holdfast/client/connect';
import { HoldfastError } from '@holdfast/client/error';
import type { Holdfast } from '@holdfast/client/holdfast';
import type { LoginOptions, TlsOptions } from '@holdfast/client/options';
import { memberNamed, type Membership } from '../cluster/membership.ts';
import type { TlsSettings } from '../transport/tls-files.ts';
import type { NodeConfig } from './cluster-file.ts';

/** Refusals that may pass: this node is just beginning to listen. More: a wrong address is told later. */
const PATIENCE = 20;
const CALL_MS = 10_000;

export interface JoinRequestOptions {
  readonly node: NodeConfig;
  /** `host:port` of gRPC of nodes of the cluster. */
  readonly addresses: readonly string[];
  /** As whom it asks; undefined: nobody. */
  readonly login: LoginOptions | undefined;
  /** Told what the cluster says. */
  readonly onAnswer: (text: string) => void;
}

export class JoinRequest {
  readonly #options: JoinRequestOptions;
  #client: Promise<Holdfast> | undefined;
  #refusals = 0;
  #told = '';

  constructor(options: JoinRequestOptions) {
    this.#options = options;
  }

  get addresses(): readonly string[] {
    return this.#options.addresses;
  }

  /** Asks once. Error: why the cluster never will. */
  async ask(cluster: Membership): Promise<void> {
    const { name, grpc, http } = this.#options.node;
    const known = memberNamed(cluster, name);
    if (known !== undefined && known.grpc === grpc.text) {
      this.#tell(`there is a member ${name} whose data this was: it is replaced by this node by itself`);
      return;
    }
    this.#client ??= this.#connect();
    try {
      const client = await this.#client;
      await client.cluster.add({ name, grpc: grpc.text, http: http.text }, { timeout: CALL_MS });
    } catch (error) {
      this.#judge(error as HoldfastError);
    }
  }

  /** Lets go of connections. */
  close(): void {
    void this.#client?.then((client) => client.close({ timeout: 0 }));
    this.#client = undefined;
  }

  #connect(): Promise<Holdfast> {
    const { addresses, login, node } = this.#options;
    return connect({ endpoints: addresses, login, tls: node.tls && clientTls(node.tls), timeout: CALL_MS });
  }

  #judge(error: HoldfastError): void {
    if (!(error instanceof HoldfastError)) throw error;
    const mayPass = error.reason === 'MEMBER_CHANGE_RUNNING' || PASSING.has(error.code);
    if (!mayPass && (error.reason !== 'MEMBER_CHANGE_REFUSED' || ++this.#refusals >= PATIENCE)) throw error;
    this.#tell(error.message);
  }

  #tell(text: string): void {
    if (text === this.#told) return;
    this.#told = text;
    this.#options.onAnswer(text);
  }
}

/** Codes of what may be otherwise a moment later. */
const PASSING: ReadonlySet<string> = new Set(['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'RESOURCE_EXHAUSTED']);

function clientTls({ ca, cert, key }: TlsSettings): TlsOptions {
  return {
    ca: ca === undefined ? undefined : readFileSync(ca),
    certificate: readFileSync(cert),
    key: readFileSync(key),
  };
}
