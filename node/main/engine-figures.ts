/** Everything that is told of an engine in metrics. */
import type { Clock } from '@holdfast/client/clock';
import type { Metrics } from '../observe/metrics.ts';
import type { CallEdge } from '../transport/call-edge.ts';
import { authCounters, authGauges } from './auth-figures.ts';
import { brokerCounters, brokerGauges, brokerLabelledGauges } from './broker-figures.ts';
import { configCounters, configGauges } from './config-figures.ts';
import type { Engine } from './engine.ts';
import { gossipCounters, gossipGauges } from './gossip-figures.ts';
import { idCounters, idGauges } from './id-figures.ts';
import { counters, gauges } from './node-status.ts';
import { sessionCounters, sessionGauges } from './session-figures.ts';

export function addEngineFigures(metrics: Metrics, engine: Engine, edge: CallEdge, clock: Clock): void {
  const { sessions, configuration, coordinationUpkeep, ids, auth, gossip, seen } = engine;
  metrics.addGauges(gauges(engine, edge, clock));
  metrics.addCounters(counters(engine));
  metrics.addGauges(sessionGauges(sessions));
  metrics.addCounters(sessionCounters(sessions));
  metrics.addGauges(configGauges(configuration));
  metrics.addCounters(configCounters(configuration, coordinationUpkeep));
  metrics.addGauges(idGauges(ids));
  metrics.addCounters(idCounters(ids));
  metrics.addGauges(authGauges(auth));
  metrics.addCounters(authCounters(auth));
  metrics.addGauges(brokerGauges(engine));
  metrics.addLabelledGauges(brokerLabelledGauges(engine));
  metrics.addCounters(brokerCounters(engine));
  if (gossip === undefined) return;
  metrics.addGauges(gossipGauges(gossip, seen, clock));
  metrics.addCounters(gossipCounters(gossip));
}
