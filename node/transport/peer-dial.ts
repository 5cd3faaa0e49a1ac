import { connect, type Socket } from 'node:net';
import * as grpc from '@grpc/grpc-js';
import type { Clock, Timer } from '@holdfast/client/clock';
import { ClientTls } from '@holdfast/client/client-tls';
import { hostOf } from '@holdfast/client/endpoints';
import type { ReceiveRequest, ReceiveResponse } from '@holdfast/proto/raft/v1/peer';
import type { PeerLane } from '../runtime/peer-transport.ts';
import { MAX_RESPONSE_BYTES, PEER_SERVICE } from './peer-service.ts';
import { readTlsFiles, type TlsSettings } from './tls-files.ts';

/** Where the TLS files of a dialling node are: its certificate is that of the calling side. */
export type PeerTlsFiles = Pick<TlsSettings, 'cert' | 'key' | 'ca'>;

/** From the dial to the first headers. TCP alone would try for two minutes, a second and more at a time. */
const OPEN_MS = 1_500;

/** How much a peer may send ahead of what was read: the bulk lane bears a longer way. */
const WINDOW_BYTES: Readonly<Record<PeerLane, number>> = { control: 2 ** 20, bulk: 4 * 2 ** 20 };

/** The client's preface and settings without a setting (RFC 9113, section 3.4), which a server answers. */
const HTTP2_GREETING = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
]);

const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 5_000,
  'grpc.keepalive_permit_without_calls': 1,
  // Lanes must not share a connection: what is bulk to one is a delay to the other.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_channelz': 0,
  'grpc.enable_retries': 0,
  // Peers are called as they are named, whatever the environment says of proxies.
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
  'grpc.max_receive_message_length': MAX_RESPONSE_BYTES,
};

export interface PeerDialOptions {
  readonly clock: Clock;
  /** `host:port`. */
  readonly address: string;
  readonly request: ReceiveRequest;
  readonly lane: PeerLane;
  /** Undefined: plain text. */
  readonly tls: PeerTlsFiles | undefined;
  /**
   * Whether the address is first tried with a bare connection. grpc-js leaves connections
   * that it gave up on to the system, which keeps them for minutes: they would heap up while
   * a peer's machine is away, or its process hangs.
   */
  readonly probes: boolean;
  readonly onOpen: () => void;
  readonly onResponse: (response: ReceiveResponse) => void;
  /** The end, once, unless it was cancelled. `isSilent`: nobody answered at all. */
  readonly onEnd: (error: Error, isSilent: boolean) => void;
}

/**
 * One dial of a peer and the stream that comes of it. Each has a channel of its own, so that
 * no backoff of grpc-js delays the next one, and a changed address is seen; and reads the
 * TLS files, so that they may change as well.
 */
export class PeerDial {
  readonly #options: PeerDialOptions;
  readonly #timer: Timer;
  #probe: Socket | undefined;
  #client: grpc.Client | undefined;
  #call: grpc.ClientReadableStream<ReceiveResponse> | undefined;
  #isOver = false;

  constructor(options: PeerDialOptions) {
    this.#options = options;
    this.#timer = options.clock.setTimer(OPEN_MS, () => {
      this.#end(new Error(`${options.address} did not answer within ${OPEN_MS} ms`), true);
    });
    void this.#open().catch((error: Error) => this.#end(error));
  }

  /** Ends it in silence. */
  cancel(): void {
    this.#isOver = true;
    this.#timer.cancel();
    this.#probe?.destroy();
    this.#call?.cancel();
    this.#client?.close();
  }

  async #open(): Promise<void> {
    const { tls, probes } = this.#options;
    if (probes) await this.#tryAddress();
    const identity = tls === undefined ? undefined : await readIdentity(tls);
    if (!this.#isOver) this.#callPeer(identity);
  }

  #tryAddress(): Promise<void> {
    const { address } = this.#options;
    return new Promise((resolve, reject) => {
      const port = Number(address.slice(address.lastIndexOf(':') + 1));
      const socket = (this.#probe = connect(port, hostOf(address)));
      socket.on('error', reject);
      socket.once('close', () => reject(new Error(`${address} accepts connections and ends them`)));
      if (this.#options.tls === undefined) socket.write(HTTP2_GREETING);
      // The kernel of a process that hangs still accepts: who greets is there. One of TLS would say nothing yet.
      socket.once(this.#options.tls === undefined ? 'data' : 'connect', () => {
        socket.destroy();
        resolve();
      });
    });
  }

  #callPeer(identity: ClientTls | undefined): void {
    const { address, lane, request, onOpen, onResponse } = this.#options;
    const credentials = identity?.credentials(address) ?? grpc.credentials.createInsecure();
    const { path, requestSerialize, responseDeserialize } = PEER_SERVICE.receive;
    const client = (this.#client = new grpc.Client(address, credentials, {
      ...CHANNEL_OPTIONS,
      'grpc-node.flow_control_window': WINDOW_BYTES[lane],
      ...identity?.channelOptions(address),
    }));
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, request);
    this.#call = call;
    call.once('metadata', () => {
      if (this.#isOver) return;
      this.#timer.cancel();
      onOpen();
    });
    call.on('data', (response: ReceiveResponse) => {
      if (!this.#isOver) onResponse(response);
    });
    call.on('error', (error: Error) => this.#end(error));
    call.on('end', () => this.#end(new Error('the peer ended the stream')));
  }

  #end(error: Error, isSilent = false): void {
    if (this.#isOver) return;
    this.cancel();
    this.#options.onEnd(error, isSilent);
  }
}

async function readIdentity(files: PeerTlsFiles): Promise<ClientTls> {
  const { cert, key, ca } = await readTlsFiles(files);
  return new ClientTls({ certificate: cert, key, ...(ca === undefined ? {} : { ca }) });
}
