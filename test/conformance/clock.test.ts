import { SimulatedClock } from '../../node/runtime/simulated/simulated-clock.ts';
import { SimulatedScheduler } from '../../node/runtime/simulated/simulated-scheduler.ts';
import { describeClock } from './clock.ts';
import { realStage, simulatedStage } from './stage.ts';

describeClock('system', realStage);
describeClock('simulated', simulatedStage);
describeClock('simulated, fast and ahead', () => {
  const scheduler = new SimulatedScheduler();
  const clock = new SimulatedClock(scheduler, { drift: 0.037, offsetMs: 5000 });
  return { clock, play: (scene) => scheduler.settle(scene(), 3_600_000) };
});
