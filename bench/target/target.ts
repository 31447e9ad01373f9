/** What a load runs against: our gateway, a peer, or anything that listens somewhere. */
export interface Target extends AsyncDisposable {
  readonly name: string;
  /** Empty: not known. */
  readonly version: string;
  readonly host: string;
  readonly port: number;
  /** What a device sends once connected, so that the target keeps it. */
  readonly hello?: Buffer;
  /** What a reader of its figures has to know. */
  readonly notes?: readonly string[];
  /** Processes whose CPU and memory count; those of the upstream that a proxy needs do not. */
  pids(): number[];
}
