// Waiting, with bounds that tell "never" from "soon", not fast from slow.

import assert from 'node:assert/strict';

/** How long to wait for what should come at once. */
export const SOON_MS = 10_000;

export const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** Polls `probe` until it returns something truthy, and returns that. */
export async function eventually(what, probe, ms = SOON_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${what}`);
    await sleep(20);
  }
}
