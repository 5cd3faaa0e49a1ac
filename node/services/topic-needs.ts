/** What calls need of the topics that they name. */
import { checkTopicName } from '../broker/topic-limits.ts';
import { namedSpan } from './access-names.ts';
import type { KeyNeed } from './access.ts';

/** Each topic once. */
export function topicNeeds(
  use: KeyNeed['use'],
  partitions: readonly { readonly topic: string }[],
): KeyNeed[] {
  const topics = new Set(partitions.map(({ topic }) => topic));
  return [...topics].map((topic) => {
    checkTopicName(topic, 'topic');
    return { use, span: namedSpan('topic', topic) };
  });
}
