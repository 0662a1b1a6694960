// The ceiling under attack of ten thousand connections (attack.mjs says how): what elbow prints at
// its start is true, and whoever keeps the rules does not notice.

import assert from 'node:assert/strict';
import { test } from './elbow.mjs';
import { withstand } from './attack.mjs';

test('ten thousand attackers do not pass the ceiling', { timeout: 240_000 }, async (context) => {
  // Both kinds of PROXY header are looked at, and nobody needs one.
  const args = ['--proxy-protocol', 'optional', '--max-connections', '12000'];
  const { mostOfOne, shareOfOne } = await withstand(context, await context.elbow(args), 10_000);
  assert.ok(mostOfOne <= shareOfOne, `one connection in the kernel: ${mostOfOne} bytes`);
});
