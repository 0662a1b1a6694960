// Waiting, with bounds that tell "never" from "soon", not fast from slow.

import assert from 'node:assert/strict';

/** How long to wait for what should come at once. */
export const SOON_MS = 10_000;

export const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** The longest pause between two looks, in milliseconds. */
const PAUSE_MS_MAX = 20;

/**
 * Polls `probe` until it returns something truthy, and returns that. The first looks follow each
 * other soon: a server on the same machine answers within a millisecond, and tests ask for
 * thousands of answers.
 */
export async function eventually(what, probe, ms = SOON_MS) {
  const end = Date.now() + ms;
  for (let pause = 1; ; pause = Math.min(2 * pause, PAUSE_MS_MAX)) {
    const value = await probe();
    if (value) return value;
    if (Date.now() > end) assert.fail(`not within ${ms} ms: ${what}`);
    await sleep(pause);
  }
}
