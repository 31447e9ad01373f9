import { importTypeScript, prepare } from './setup.mjs';

/** `npm start`: the gateway with everything it needs on this machine. Arguments are handed on to the gateway. */
prepare();
const { start } = await importTypeScript('src/dev/start.ts');
process.exit(await start(process.argv.slice(2)));
