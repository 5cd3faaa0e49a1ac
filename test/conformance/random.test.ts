import { SeededRandom } from '../../node/runtime/simulated/seeded-random.ts';
import { SystemRandom } from '../../client/system-random.ts';
import { describeRandom } from './random.ts';

describeRandom('system', () => new SystemRandom());
describeRandom('seeded', () => new SeededRandom(1));
describeRandom('seeded, forked', () => new SeededRandom('seed').fork('disk').fork('n1'));
