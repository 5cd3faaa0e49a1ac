/**
 * The certificate that a node serves with, exchanged while it runs when the files change.
 *
 * The files are compared by content: links that are switched over (Kubernetes, certbot),
 * renamed files and files written in place look alike that way, and no notice can be
 * missed. A replacement counts once it was read the same twice, so that one that is being
 * written is not judged, and is taken only if it is right; otherwise the old one stays.
 */
import type { SecureContextOptions } from 'node:tls';
import type { Clock, Timer } from '@holdfast/client/clock';
import {
  checkTlsFiles,
  datesProblem,
  readTlsFiles,
  TlsFilesError,
  type CertificateFacts,
  type TlsMaterial,
  type TlsSettings,
} from './tls-files.ts';

/** How often the files are looked at. Two looks pass before a replacement is served. */
const EVERY_MS = 1_000;

export interface TlsEvents {
  /** New connections get the certificate from now on. */
  onReload(facts: CertificateFacts): void;
  /** The files changed and cannot be used: the old certificate stays. Once for each change. */
  onBroken(error: TlsFilesError): void;
}

/** Something that can change certificates while it serves: `tls.Server` and its kin. */
export interface TlsListener {
  setSecureContext(options: SecureContextOptions): void;
}

export class TlsIdentity {
  readonly settings: TlsSettings;
  readonly #clock: Clock;
  readonly #events: TlsEvents;
  readonly #listeners = new Set<TlsListener>();
  #material: TlsMaterial;
  #facts: CertificateFacts;
  /** The last look: content, or what was wrong. */
  #seen: string;
  #judged: string;
  #timer: Timer | undefined;
  #stopped = false;

  /** Reads the files and watches them. Error: TlsFilesError. */
  static async open(settings: TlsSettings, clock: Clock, events: TlsEvents): Promise<TlsIdentity> {
    const material = await readTlsFiles(settings);
    return new TlsIdentity(settings, clock, events, material);
  }

  private constructor(settings: TlsSettings, clock: Clock, events: TlsEvents, material: TlsMaterial) {
    this.settings = settings;
    this.#clock = clock;
    this.#events = events;
    this.#material = material;
    this.#facts = checkTlsFiles(material, settings);
    this.#seen = this.#judged = fingerprint(material);
    this.#schedule();
  }

  get facts(): CertificateFacts {
    return this.#facts;
  }

  /** What is wrong with the dates of the certificate now. */
  get datesProblem(): string | undefined {
    return datesProblem(this.#facts, this.#clock.wallMs());
  }

  /** For new connections. TLS 1.2 is the least that has no known break. */
  get contextOptions(): SecureContextOptions {
    const { cert, key, ca } = this.#material;
    return { cert, key, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) };
  }

  /** Gives a server every later certificate. */
  serve(listener: TlsListener): void {
    this.#listeners.add(listener);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.setTimer(EVERY_MS, () => void this.#look().finally(() => this.#schedule()));
  }

  async #look(): Promise<void> {
    const found = await readTlsFiles(this.settings).catch((error: unknown) => error as TlsFilesError);
    const now = found instanceof Error ? found.message : fingerprint(found);
    const isSettled = now === this.#seen;
    this.#seen = now;
    if (!isSettled || now === this.#judged || this.#stopped) return;
    this.#judged = now;
    try {
      if (found instanceof Error) throw found;
      this.#take(found);
    } catch (error) {
      this.#events.onBroken(error as TlsFilesError);
    }
  }

  #take(material: TlsMaterial): void {
    const facts = checkTlsFiles(material, this.settings);
    const problem = datesProblem(facts, this.#clock.wallMs());
    if (problem !== undefined)
      throw new TlsFilesError(`the certificate in ${this.settings.cert} (tls.cert) ${problem}`);
    this.#material = material;
    this.#facts = facts;
    // A new context has new keys for session tickets, too. Otherwise who resumes a session,
    // and is not asked for a certificate again, would come in by an authority of the past.
    for (const listener of this.#listeners) listener.setSecureContext(this.contextOptions);
    this.#events.onReload(facts);
  }
}

function fingerprint({ cert, key, ca }: TlsMaterial): string {
  return [cert, key, ca ?? Buffer.alloc(0)].map((bytes) => bytes.toString('latin1')).join('\0');
}
