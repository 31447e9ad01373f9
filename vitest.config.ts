import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          globalSetup: ['test/integration/global-setup.ts'],
          // One broker and two cores: files one after another, so that a figure or a timeout means something.
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // Machines that check changes have noisy neighbours; a failure that is not noise comes twice. But what should
          // be nothing stands (a ledger's violations, fates, connections that dropped): a loss that comes once in two
          // runs is a loss. So does an error that was suppressed by another, on Node 20 without any message.
          retry: {
            count: process.env.CI ? 1 : 0,
            condition: /^(?!.*(to deeply equal (\[\]|\{\})|to be \+?0 |suppressed during disposal)).+/s,
          },
        },
      },
    ],
  },
});
