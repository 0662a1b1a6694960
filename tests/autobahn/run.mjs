// The Autobahn test suite against the release binary: sections 1 to 7 and 10 whole and a sample of 9
// (messages up to 16 MiB, in up to 65,536 fragments; all of it with --all) must pass; 12 and 13
// (compression) must be reported as not implemented, which counts as passed.
//
// A channel of one client is an echo server, and the suite's clients come one after another. Feeds
// are as large as messages of 16 MiB demand. The report stays in tests/output/autobahn/.
//
// usage: node tests/autobahn/run.mjs WSTEST [--all]
// The last line is `N passed, N failed`.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const [wstest, ...options] = process.argv.slice(2);
const binary = process.env.ELBOW_BIN;
if (!wstest || !binary || !fs.existsSync(binary)) {
  console.error('usage: ELBOW_BIN=BINARY node tests/autobahn/run.mjs WSTEST [--all]');
  process.exit(2);
}
const output = fileURLToPath(new URL('../output/autobahn', import.meta.url));
fs.rmSync(output, { recursive: true, force: true });
fs.mkdirSync(output, { recursive: true });

const SAMPLE_OF_9 = [
  '9.1.1',
  '9.1.6',
  '9.2.1',
  '9.2.6',
  '9.3.1',
  '9.3.9',
  '9.4.1',
  '9.4.9',
  '9.5.1',
  '9.6.6',
  '9.7.1',
  '9.7.6',
  '9.8.1',
  '9.8.6',
];
/** How many cases there are: one that is missing from the report has not passed. */
const CASES = { 1: 16, 2: 11, 3: 7, 4: 10, 5: 20, 6: 145, 7: 37, 9: 54, 10: 1, 12: 90, 13: 126 };
const whole = options.includes('--all');
const expected = { ...CASES, ...(!whole && { 9: SAMPLE_OF_9.length }) };
const cases = Object.keys(CASES).flatMap((section) => {
  return section === '9' && !whole ? SAMPLE_OF_9 : [`${section}.*`];
});

const children = new Set();
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

/** Starts a program whose output goes to a file of that name in the report's folder. */
function start(name, command, args) {
  const log = fs.openSync(path.join(output, name), 'w');
  const child = spawn(command, args, { stdio: ['ignore', log, log] });
  fs.closeSync(log);
  children.add(child);
  child.ended = new Promise((resolve) => {
    child.on('error', resolve);
    child.on('exit', (code, signal) => {
      children.delete(child);
      resolve({ code, signal });
    });
  });
  return child;
}

const server = start('elbow.log', binary, [
  '--listen',
  '127.0.0.1:0',
  '--max-message',
  '64MiB',
  '--memory',
  '2GiB',
  '--log-level',
  'info',
]);
let serverEnd = null;
server.ended.then((end) => {
  serverEnd = end;
});
let port;
for (let tries = 0; tries < 500 && !port && !serverEnd; tries += 1) {
  await new Promise((resolve) => {
    setTimeout(resolve, 20);
  });
  port = fs
    .readFileSync(path.join(output, 'elbow.log'), 'utf8')
    .match(/listening on \S*:(\d+)/)?.[1];
}

const failures = [];
const counts = {};
if (port) {
  const spec = path.join(output, 'spec.json');
  fs.writeFileSync(
    spec,
    JSON.stringify({
      outdir: output,
      servers: [{ agent: 'elbow', url: `ws://127.0.0.1:${port}/ws`, options: { version: 18 } }],
      cases,
      'exclude-cases': [],
      'exclude-agent-cases': {},
    }),
  );
  const client = start('wstest.log', wstest, ['-m', 'fuzzingclient', '-s', spec]);
  const end = await Promise.race([client.ended, server.ended]);
  if (serverEnd) failures.push(`the server ended: ${JSON.stringify(serverEnd)}`);
  else if (end.code !== 0) failures.push(`wstest ended: ${end.message ?? JSON.stringify(end)}`);
} else {
  failures.push(`the server does not listen: see ${path.join(output, 'elbow.log')}`);
}

const index = path.join(output, 'index.json');
const results = fs.existsSync(index) ? JSON.parse(fs.readFileSync(index, 'utf8')).elbow : {};
// NON-STRICT and INFORMATIONAL are given by the suite only where it leaves the behaviour open.
const PASSES = ['OK', 'NON-STRICT', 'INFORMATIONAL'];
const tally = {};
for (const [id, { behavior, behaviorClose, reportfile }] of Object.entries(results)) {
  const section = id.split('.')[0];
  const verdict = `${behavior}, close ${behaviorClose}`;
  const passes = ['12', '13'].includes(section)
    ? behavior === 'UNIMPLEMENTED'
    : PASSES.includes(behavior) && PASSES.includes(behaviorClose);
  if (!passes) failures.push(`case ${id}: ${verdict}; see tests/output/autobahn/${reportfile}`);
  counts[section] = (counts[section] ?? 0) + 1;
  tally[verdict] = (tally[verdict] ?? 0) + 1;
}
const missing = Object.keys(expected).reduce((sum, section) => {
  const lacking = expected[section] - (counts[section] ?? 0);
  if (lacking > 0)
    console.log(`section ${section}: ${lacking} of ${expected[section]} cases did not run`);
  return sum + Math.max(0, lacking);
}, 0);

for (const failure of failures) console.log(`not ok: ${failure}`);
for (const [verdict, count] of Object.entries(tally).sort()) console.log(`${count} × ${verdict}`);
server.kill('SIGKILL');
await server.ended;

const failed = failures.length + missing;
const ran = Object.keys(results).length;
const passed = ran - failures.filter((failure) => failure.startsWith('case ')).length;
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
