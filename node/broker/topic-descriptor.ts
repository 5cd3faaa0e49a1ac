/** Topics as they stand in the coordination tree. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { keyHash } from '@holdfast/client/key-hash';
import { TopicSchema, TopicSettingsSchema, type Topic } from '@holdfast/proto/broker/v1/topic';
import { DEFAULT_SETTINGS, settingsWith, type TopicSettings } from './topic-limits.ts';

export const TOPICS = '/holdfast/topics/';

/** Positions on the ring of a topic's partitions: evenly from that of its name on. */
export function topicArcs(name: string, from: number, to: number, total: number): number[] {
  const first = keyHash(Buffer.from(name));
  const arcs: number[] = [];
  for (let number = from; number < to; number++)
    arcs.push((first + Math.floor((number * 2 ** 32) / total)) % 2 ** 32);
  return arcs;
}

/** Error: it is none. */
export function decodeTopic(value: Uint8Array): Topic {
  return fromBinary(TopicSchema, value);
}

export function encodeTopic(topic: Topic): Uint8Array {
  return toBinary(TopicSchema, topic);
}

/** What its descriptor says; what an older one does not say has its default. */
export function settingsOf({ settings }: Topic): TopicSettings {
  return settings === undefined ? DEFAULT_SETTINGS : settingsWith(DEFAULT_SETTINGS, settings);
}

export function settingsMessage(settings: TopicSettings): Topic['settings'] {
  return create(TopicSettingsSchema, {
    ...settings,
    retentionMs: BigInt(settings.retentionMs),
    retentionBytes: BigInt(settings.retentionBytes),
    segmentBytes: BigInt(settings.segmentBytes),
    segmentMs: BigInt(settings.segmentMs),
    deleteRetentionMs: BigInt(settings.deleteRetentionMs),
  });
}
