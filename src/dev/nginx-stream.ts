import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { findOnPath } from './find-on-path.ts';

/** An nginx that can proxy TCP connections. */
export interface NginxStream {
  /** Full path. */
  readonly program: string;
  readonly version: string;
  /** The module to load; `undefined` where it is compiled in. */
  readonly module: string | undefined;
}

/** `undefined` when there is no nginx, or none with the `stream` module. */
export async function findNginxStream(): Promise<NginxStream | undefined> {
  const program = findOnPath('nginx');
  if (program === undefined) return undefined;
  const { stderr } = await promisify(execFile)(program, ['-V']);
  const version = /nginx\/(\S+)/.exec(stderr)?.[1] ?? '';
  if (/--with-stream(\s|$)/.test(stderr)) return { program, version, module: undefined };
  const folder = /--modules-path=(\S+)/.exec(stderr)?.[1];
  if (folder === undefined) return undefined;
  const module = join(folder, 'ngx_stream_module.so');
  return existsSync(module) ? { program, version, module } : undefined;
}
