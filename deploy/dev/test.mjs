import { spawn } from 'node:child_process';
import { fail, importTypeScript, prepare } from './setup.mjs';

/** `npm test`: installs what the tests need and runs them. Arguments are handed on to `vitest run`. */
prepare();
const args = process.argv.slice(2);
if (!/--project[ =]unit/.test(args.join(' '))) {
  const { ensureTestTools } = await importTypeScript('src/dev/test-tools.ts');
  await ensureTestTools(console.log).catch((error) => fail(error.message));
  // A test that needs one of them and misses it fails then; without this promise it is skipped.
  process.env.TEST_TOOLS_ENSURED = '1';
}

const vitest = spawn(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...args], {
  stdio: 'inherit',
});
process.on('SIGINT', () => {}); // The terminal sends it to vitest as well, which decides when the tests are over.
process.on('SIGTERM', () => vitest.kill('SIGTERM'));
vitest.on('exit', (code) => process.exit(code ?? 1));
