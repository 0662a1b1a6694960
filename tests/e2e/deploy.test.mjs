// What lies in deploy/, read by the programs that it is for. Goal: the units of systemd mean what
// they say, leave the service little to be exposed by, and forbid nothing that the server needs; the
// manual page has no mistake, and shells complete what the program takes. Method: systemd-analyze
// reads the units without a running systemd; the system calls that a server makes, as strace sees
// them, are held against those that the unit allows; mandoc, man and the shells read their files.
// What is missing here is said, and its test is skipped. That the page and the completions are
// fresh is tested in tests/manual.rs.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { BINARY, ROOT, run, test } from './elbow.mjs';
import { peer } from './socketio.mjs';

const UNITS = path.join(ROOT, 'deploy/systemd');
const SERVICE = fs.readFileSync(path.join(UNITS, 'elbow.service'), 'utf8');

/** Why a test that needs `program` cannot be run here, or false. */
function lacks(program) {
  const found = process.env.PATH.split(':').some((folder) =>
    fs.existsSync(path.join(folder, program)),
  );
  return found ? false : `${program} is not installed here`;
}

/** All values of a setting of the service. */
const settings = (name) =>
  SERVICE.split('\n')
    .filter((line) => line.startsWith(`${name}=`))
    .map((line) => line.slice(name.length + 1));

/** What `elbow check` prints with the variables of the unit. */
async function checked(args = []) {
  const env = Object.fromEntries(settings('Environment').map((text) => text.split('=')));
  const got = await run(BINARY, ['check', ...args], { env: { PATH: process.env.PATH, ...env } });
  assert.equal(got.status, 0, got.stderr);
  return got.stdout;
}

const skip = lacks('systemd-analyze');

test('systemd reads every unit without a complaint', { skip }, async (context) => {
  const folder = context.folder();
  const names = fs.readdirSync(UNITS);
  assert.deepEqual(names.sort(), [
    'elbow-admin.socket',
    'elbow-health.socket',
    'elbow.service',
    'elbow.socket',
  ]);
  for (const name of names) {
    const text = fs.readFileSync(path.join(UNITS, name), 'utf8');
    // It asks whether what is started is there.
    fs.writeFileSync(path.join(folder, name), text.replace('=/usr/bin/elbow', `=${BINARY}`));
  }
  const files = names.map((name) => path.join(folder, name));
  const got = await run('systemd-analyze', ['verify', '--man=no', ...files]);
  assert.deepEqual([got.stdout, got.stderr, got.status], ['', '', 0]);
  // The check must be able to fail.
  const broken = SERVICE.replace('=/usr/bin/elbow', `=${BINARY}`).replace('UMask', 'Umask');
  fs.writeFileSync(files[2], broken);
  assert.match((await run('systemd-analyze', ['verify', '--man=no', files[2]])).stderr, /Umask/);
});

test('the service is exposed to little', { skip }, async () => {
  const service = path.join(UNITS, 'elbow.service');
  const got = await run('systemd-analyze', ['security', '--offline=true', '--no-pager', service]);
  const [, level] = got.stdout.match(/exposure level for elbow\.service: (\d+\.\d+)/);
  console.log(`exposure level: ${level}`);
  assert.ok(Number(level) <= 1.5, level);
});

test('the limits of the unit hold what the program prints', async () => {
  const { stdout } = await run(BINARY, ['check', '--admin-listen', 'unix:a']);
  const capacity = stdout.match(/^capacity: \d+ sessions, (\d+) .*, (\d+) for .* and (\d+) for/m);
  const others = capacity.slice(1).reduce((sum, text) => sum + Number(text), 0);
  // The most that is derived, and what the program keeps for itself.
  assert.equal(Number(settings('LimitNOFILE')[0]), 65_536 + others + 32);
  assert.match(await checked(), /^fit: the total stays within /m);

  const values = await checked();
  const [, drain] = values.match(/^--drain\s+(\d+)s /m);
  assert.ok(Number(settings('TimeoutStopSec')[0]) > Number(drain) + 3);
  assert.ok(Number(settings('WatchdogSec')[0]) >= 10);
  assert.deepEqual(settings('RestartPreventExitStatus'), ['2 78']);
  assert.deepEqual(settings('EnvironmentFile'), ['-/etc/default/elbow']);
});

/** The names of the system calls in a set, with those of the sets in it. */
async function callsOf(set) {
  const got = await run('systemd-analyze', ['syscall-filter', '--no-pager', set]);
  assert.equal(got.status, 0, got.stderr);
  const lines = got.stdout.split('\n').map((line) => line.trim());
  const names = lines.filter((line) => /^[@a-z]/.test(line) && line !== set);
  const sets = await Promise.all(names.filter((name) => name[0] === '@').map(callsOf));
  const calls = names.filter((name) => name[0] !== '@');
  return new Set([...calls, ...sets.flatMap((inner) => [...inner])]);
}

test(
  'the unit allows every system call that the server makes',
  { skip: skip || lacks('strace') },
  async (context) => {
    const allowed = new Set();
    for (const filter of settings('SystemCallFilter')) {
      const isForbidden = filter.startsWith('~');
      for (const set of filter.replace('~', '').split(' ')) {
        for (const name of await callsOf(set)) {
          if (isForbidden) allowed.delete(name);
          else allowed.add(name);
        }
      }
    }
    assert.ok(allowed.has('epoll_wait') && !allowed.has('setrlimit'), 'the sets are read');

    const trace = path.join(context.folder(), 'trace');
    const www = context.folder();
    fs.writeFileSync(path.join(www, 'index.html'), 'page');
    // Where tracing is forbidden there is nothing to be seen.
    if ((await run('strace', ['-o', trace, 'true'])).status !== 0) {
      context.t.skip('strace may not trace here');
      return;
    }
    const admin = `unix:${context.folder()}/admin.sock`;
    const args = ['--www', www, '--admin-listen', admin, '--drain', '100ms'];
    // The soft limit on descriptors is the hard one, as the unit has it.
    const limited = ['sh', '-c', 'ulimit -n 4096; exec "$@"', 'sh'];
    const server = await context.elbow(args, {
      prefix: [...limited, 'strace', '-f', '-qq', '-o', trace],
      env: { NOTIFY_SOCKET: '/nonexistent', WATCHDOG_USEC: '1000000' },
    });
    const pid = Number((await server.logged(/process (\d+)/))[1]);
    // Whoever ends strace alone leaves it behind.
    context.defer(() => {
      if (!server.ended) process.kill(pid, 'SIGKILL');
    });
    const client = await context.client(server.port);
    const polls = await peer(context, server.port, '4.8', { way: 'polling only' });
    client.say('to everybody');
    await polls.until('to everybody');
    assert.equal(await (await fetch(server.url())).text(), 'page');
    process.kill(pid, 'SIGHUP');
    await server.logged(/--www: \d+ files.* of before/);
    process.kill(pid, 'SIGTERM');
    await server.gone();

    const lines = fs.readFileSync(trace, 'utf8').split('\n');
    const names = lines.map((line) => line.match(/^\d+ +([a-z0-9_]+)\(/)?.[1]);
    const made = new Set(names.filter(Boolean));
    assert.ok(made.size > 20 && made.has('epoll_ctl'), [...made].join(' '));
    // Before the server is there to be restricted: the shell's and strace's own.
    const others = [...made].filter((name) => !allowed.has(name) && name !== 'execve');
    assert.deepEqual(others, []);
  },
);

const deployed = (name) => path.join(ROOT, 'deploy', name);

/** Runs a program that must have nothing to say. */
async function silent(command, args) {
  const got = await run(command, args);
  assert.deepEqual([got.stdout, got.stderr, got.status], ['', '', 0]);
}

test('mandoc finds nothing in the manual page', { skip: lacks('mandoc') }, async (context) => {
  await silent('mandoc', ['-T', 'lint', '-W', 'warning', deployed('elbow.1')]);
  // The check must be able to fail.
  const broken = path.join(context.folder(), 'broken.1');
  fs.writeFileSync(broken, `${fs.readFileSync(deployed('elbow.1'))}.XY\n`);
  assert.notEqual((await run('mandoc', ['-T', 'lint', '-W', 'warning', broken])).status, 0);
});

test('man shows it without a warning', { skip: lacks('man') || lacks('groff') }, async () => {
  const env = { PATH: process.env.PATH, MANWIDTH: '80', LC_ALL: 'C.UTF-8' };
  const got = await run('man', ['--warnings', '-l', deployed('elbow.1')], { env });
  assert.deepEqual([got.stderr, got.status], ['', 0]);
  assert.match(got.stdout, /ELBOW_PING_INTERVAL/);
});

test('bash completes commands, flags and words', { skip: lacks('bash') }, async () => {
  const file = deployed('completions/elbow.bash');
  await silent('bash', ['-n', file]);
  const completed = async (...words) => {
    const script = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _elbow';
    const ask = `${script}; printf '%s ' "\${COMPREPLY[@]}"`;
    const got = await run('bash', ['-c', ask, 'bash', file, 'elbow', ...words]);
    assert.equal(got.stderr, '');
    return got.stdout.trim();
  };
  assert.equal(await completed('ch'), 'check');
  assert.equal(await completed('--ping-'), '--ping-interval --ping-timeout');
  assert.equal(await completed('--lb', ''), 'none clb nlb alb');
  assert.equal(await completed('--lb', '=', 'n'), 'none nlb');
  assert.equal(await completed('--lb', '='), 'none clb nlb alb');
  assert.equal(await completed('--drain', ''), '');
  assert.equal(await completed('check', '--max-m'), '--max-message');
  assert.equal(await completed('check', 'ch'), '');
  assert.equal(await completed('top', '--'), '--url --admin-token-file --help');
  // The options of the server go with --aws.
  assert.match(await completed('doctor', '--a'), /^--aws --admin-listen .*--accept-rate$/);
});

test('zsh reads its completions', { skip: lacks('zsh') }, async () => {
  const file = deployed('completions/_elbow');
  await silent('zsh', ['-n', file]);
  // Whatever is done at the end of the file needs a command line to be completed.
  const define = `source <(grep -v '^_elbow "' "$1"); whence -w _elbow _elbow_server _elbow_token`;
  const got = await run('zsh', ['-f', '-c', define, 'zsh', file]);
  assert.deepEqual(got.stdout.match(/: function/g)?.length, 3, got.stderr);
});

test('fish completes commands, flags and words', { skip: lacks('fish') }, async () => {
  const file = deployed('completions/elbow.fish');
  await silent('fish', ['--no-execute', file]);
  const completed = async (line) => {
    const ask = 'source $argv[1]; complete -C $argv[2]';
    const got = await run('fish', ['--no-config', '-c', ask, file, line], {
      env: { PATH: process.env.PATH, HOME: '/nonexistent' },
    });
    return got.stdout.split('\n').filter(Boolean).map((text) => text.split('\t')[0]);
  };
  assert.deepEqual(await completed('elbow ch'), ['check']);
  assert.deepEqual(await completed('elbow --ping-'), ['--ping-interval', '--ping-timeout']);
  assert.deepEqual((await completed('elbow --lb ')).sort(), ['alb', 'clb', 'nlb', 'none']);
  assert.deepEqual(await completed('elbow doctor --j'), ['--json']);
  assert.deepEqual(await completed('elbow top --ping'), []);
});
