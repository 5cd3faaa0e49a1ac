/** What the parts of a node that are run by the coordination tree need of it. */

export interface ClusterTree {
  /** A key as applied on this node. */
  get(key: string): { readonly value: Uint8Array; readonly modRevision: number } | undefined;
  list(prefix: string): Promise<readonly { readonly key: string; readonly value: Uint8Array }[]>;
  /** Here or, with `anywhere`, wherever it is led. */
  transact(
    transaction: {
      comparisons: readonly { key: string; modRevision: number }[];
      changes: readonly { key: string; value: Uint8Array | undefined }[];
    },
    anywhere: boolean,
  ): Promise<{ readonly succeeded: boolean }>;
  /** Of the last change, as applied here. */
  readonly revision: number;
  /** Has later changes a revision above this one; as `transact`. */
  raiseRevision(revision: number, anywhere: boolean): Promise<void>;
  watch(watcher: {
    readonly prefix: string;
    onChange(change: { key: string; value: Uint8Array | undefined }): void;
    onReplaced(): void;
  }): void;
}
