/**
 * Loaded into a program before its own code (`node --import`): each SIGUSR2 moves its wall clock to the next of the
 * offsets in TEST_CLOCK_OFFSETS_MS and says so on stderr, while its monotonic clock and its timers go on, as when an operator sets the time.
 */
const WallClock = Date;
const offsets = process.env.TEST_CLOCK_OFFSETS_MS.split(',').map(Number);
let offset = 0;

globalThis.Date = class MovedClock extends WallClock {
  static now() {
    return WallClock.now() + offset;
  }

  constructor(...args) {
    if (args.length === 0) super(WallClock.now() + offset);
    else super(...args);
  }
};

process.on('SIGUSR2', () => {
  offset = offsets.shift() ?? 0;
  process.stderr.write('clock moved\n');
});
