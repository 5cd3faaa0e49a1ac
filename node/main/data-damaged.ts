/** The data directory cannot be used. The message says what is wrong and what to do. */
export class DataDamaged extends Error {
  override readonly name = 'DataDamaged';

  constructor(problems: readonly string[]) {
    super(
      `the data is damaged: ${problems.join('; ')}. Nothing was changed and nothing is served. ` +
        'Restore the directory from a copy, or, if what this node holds can be given up, move the directory away and start again: the node then begins empty. In a cluster of several the others are asked to give it up.',
    );
  }
}
