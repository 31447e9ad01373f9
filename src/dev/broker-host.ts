import type { GuardedChild } from './child.ts';

/** One way to run a RabbitMQ: as processes of this machine, or in a container. */
export interface BrokerHost {
  /** Starts it on its data; resolves when the process runs, which is before the broker answers. */
  launch(): Promise<GuardedChild>;
  /** Id of the process whose CPU and memory are the broker's, once it answers. */
  pid(child: GuardedChild): number;
  /** Lets go of what `launch` took besides the child. To be called after the child has ended. */
  release(): Promise<void>;
  /** Removes data that it keeps outside of its folder. To be called when it does not run. */
  discard(): Promise<void>;
  /** Runs rabbitmqctl against it and returns what it printed. */
  ctl(args: readonly string[]): Promise<string>;
  /** What it printed about why it failed, in a few lines. */
  explainFailure(): string;
}

export interface BrokerSettings {
  /** Folder of the data, the logs and the configuration; exists. */
  dir: string;
  amqpPort: number;
  nodeName: string;
  plugins: readonly string[];
  /** Lines of rabbitmq.conf. */
  conf: Readonly<Record<string, string>>;
  /** Scheduler threads of the Erlang machine. */
  schedulers: number;
}

/** The text of a rabbitmq.conf. */
export function renderConf(conf: Readonly<Record<string, string>>): string {
  return Object.entries(conf)
    .map(([key, value]) => `${key} = ${value}\n`)
    .join('');
}

/** The text of an enabled_plugins file. */
export function renderPlugins(plugins: readonly string[]): string {
  return `[${plugins.join(',')}].\n`;
}

/** Busy waiting buys the broker nothing on a machine that it shares, and spoils every measurement beside it. */
export function erlangArguments(schedulers: number): string {
  return `+S ${schedulers}:${schedulers} +sbwt none +sbwtdcpu none +sbwtdio none`;
}
