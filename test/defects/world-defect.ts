import type { Defect } from './defect.ts';

/** A defect of what is around the Raft core, which a world of nodes and clients has to notice. */
export interface WorldDefect extends Omit<Defect, 'caughtBy'> {
  readonly caughtBy: WorldEvidence;
}

/** A world, and the check that fails there. */
export interface WorldEvidence {
  readonly seed: string;
  readonly nodes: number;
  /** Kinds of faults, these and no others; default: those that the seed draws. */
  readonly faults?: readonly string[] | undefined;
  /** With work on locks, leases and the like. Default: keyspaces alone. */
  readonly coordination?: boolean | undefined;
  /** With work on topics. Default: without. */
  readonly broker?: boolean | undefined;
  readonly checker: string;
  /** Not a world, but this module's `play`, from the repository's root: for what worlds have none of. */
  readonly rig?: string | undefined;
}
