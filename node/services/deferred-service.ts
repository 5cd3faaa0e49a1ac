/** A service that is listened for before what it serves is there. */
import type { DescService } from '@bufbuild/protobuf';
import type { ServedService } from './handler.ts';

type AnyHandler = (...inputs: unknown[]) => unknown;

/** Looks its handlers up at each call; whoever lets calls in sees to it that `open` has some. */
export function deferredService(service: DescService, open: () => ServedService): ServedService {
  const handlers: Record<string, AnyHandler> = {};
  for (const { localName } of service.methods)
    handlers[localName] = (...inputs) => (open().handlers[localName] as AnyHandler)(...inputs);
  return { service, handlers };
}
