/** A service that is listened for before what it serves is there. */
import type { DescService } from '@bufbuild/protobuf';
import type { ServedService } from './handler.ts';

type AnyHandler = (...inputs: unknown[]) => unknown;

/** Opens it with the first call; whoever lets calls in sees to it that it can be opened by then. */
export function deferredService(service: DescService, open: () => ServedService): ServedService {
  const handlers: Record<string, AnyHandler> = {};
  let opened: ServedService | undefined;
  for (const { localName } of service.methods)
    handlers[localName] = (...inputs) => ((opened ??= open()).handlers[localName] as AnyHandler)(...inputs);
  return { service, handlers };
}
