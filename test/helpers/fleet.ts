import { connectFleet, type Device } from './device.ts';

/** Many devices that end together. */
export class Fleet {
  readonly devices: Device[];

  static async connect(port: number, count: number): Promise<Fleet> {
    return new Fleet(await connectFleet(port, count));
  }

  private constructor(devices: Device[]) {
    this.devices = devices;
  }

  /** Closes all in good order; resolves when they are closed. */
  async close(): Promise<void> {
    await Promise.all(this.devices.map((device) => device.close()));
  }

  [Symbol.dispose](): void {
    for (const device of this.devices) device[Symbol.dispose]();
  }
}
