/** `etcdserverpb.Watch`. */
import { Watch } from '@holdfast/proto/etcd/rpc';
import { serve, type ServedService } from '../handler.ts';
import { WatchStreams, type WatchStreamsOptions } from '../watch-streams.ts';
import type { HeaderOf } from './etcd-header.ts';
import { EtcdWatchEncoder } from './etcd-watch-encoder.ts';
import { EtcdWatchStream } from './etcd-watch-stream.ts';

export interface EtcdWatchOptions extends Omit<WatchStreamsOptions, 'open'> {
  readonly header: HeaderOf;
}

export function etcdWatchService({ header, ...options }: EtcdWatchOptions): ServedService {
  const encoder = new EtcdWatchEncoder(header);
  const { watch } = new WatchStreams({
    ...options,
    open: (node, ...stream) => new EtcdWatchStream({ ...node, encoder, header }, ...stream),
  });
  return serve(Watch, { watch });
}
